-- admission.uuid_range: ranges of uuid, so that an exclusion over (subject, validity) needs no extension.
-- A range [x, x] overlaps another only where the ids are equal; GiST has operators for ranges built in.
CREATE TYPE admission.uuid_range AS RANGE (subtype = uuid);
