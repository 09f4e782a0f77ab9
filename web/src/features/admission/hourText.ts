// The words about the hours of a bucket.
export const hourText = {
  title: "Last 24 hours, by hour", taken: "Taken", allowed: "The limit allows in an hour", share: "An even share of the limit",
  lead: "Charged and leased, less what came back. A single hour may pass the line by what the bucket had saved up.",
};
