"""Metrics that programs send: what they measure of themselves, by series and time.

A *metric* is a name with a kind and a unit. A *series* is a metric measured by one place: its labels, service, instance,
environment and application. A *point* is a series at a time; there is one, whatever is sent again. Points are summed up by
minute, quarter of an hour, hour and day (of UTC) in *rollups*, and by series in *totals*; 5 minutes and weeks are added up
when they are asked for. A *delta* point says what happened since the point before, a *cumulative* one what happened since
its program began: what it adds is the difference to the cumulative point before it, whenever that comes in.

These are not Nexus's own figures of calls: those are metering's. Nor are they Nexus's own process metrics, at `/metrics`.
"""
