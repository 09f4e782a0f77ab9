// Calls with the `openai` package as any program would; only base URL and key are its caller's. Prints what came, as JSON.
import OpenAI from "openai";

const { url, key, usage, wrongKey } = JSON.parse(process.argv[2]);
const client = new OpenAI({ baseURL: url, apiKey: key, maxRetries: 0 });
const messages = [{ role: "user", content: "hello" }];
const chat = { model: "sandbox-1", messages };
const asking = { ...chat, stream: true, stream_options: { include_usage: true } };
const options = { headers: { "x-sandbox-usage": usage } };

async function all(stream) {
  const events = [];
  for await (const event of await stream) events.push(event);
  return events;
}

async function refusal(asked) {
  try {
    await asked;
    return "no error";
  } catch (error) {
    return [error.constructor.name, error.status, error.message];
  }
}

const whole = await client.chat.completions.create(chat, options).withResponse();
const told = {
  chat: whole.data,
  requestId: whole.request_id,
  chatBytes: await (await client.chat.completions.create(chat, options).asResponse()).text(),
  streamed: await all(client.chat.completions.create({ ...chat, stream: true }, options)),
  streamedBytes: await (await client.chat.completions.create({ ...chat, stream: true }, options).asResponse()).text(),
  streamedWithUsage: await all(client.chat.completions.create(asking, options)),
  streamedWithUsageBytes: await (await client.chat.completions.create(asking, options).asResponse()).text(),
  response: await client.responses.create({ model: "sandbox-1", input: "hello" }, options),
  responseEvents: await all(client.responses.create({ model: "sandbox-1", input: "hello", stream: true }, options)),
  embeddings: await client.embeddings.create({ model: "sandbox-1", input: ["one", "two"] }, options),
  limited: await refusal(client.chat.completions.create(chat, { headers: { "x-sandbox-status": "429" } })),
  broken: await refusal(client.chat.completions.create(chat, { headers: { "x-sandbox-status": "500" } })),
  wrongKey: await refusal(new OpenAI({ baseURL: url, apiKey: wrongKey, maxRetries: 0 }).models.list()),
};
process.stdout.write(JSON.stringify(told));
