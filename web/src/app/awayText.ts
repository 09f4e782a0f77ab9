// The words of the banner that says what holds while the limiter is away.
const limits = (n: number) => (n === 1 ? "1 limit" : `${n} limits`);

export const awayText = {
  title: "Redis does not answer: limits hold by their own policies",
  closed: (n: number) => `${limits(n)} ${n === 1 ? "refuses" : "refuse"} calls`,
  open: (n: number) => `${limits(n)} ${n === 1 ? "lets" : "let"} calls pass and ${n === 1 ? "records" : "record"} them`,
  local: (n: number) => `${limits(n)} ${n === 1 ? "gives" : "give"} each process its share`,
  none: "No limit is in force here, so no call is refused.",
  after: "Counting goes on by itself when Redis answers again; what passed meanwhile is then charged.",
};
