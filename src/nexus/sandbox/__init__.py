"""A provider on this machine, to try Nexus with and to test it: no model, but every form of answer.

It speaks OpenAI's chat, completions, responses and embeddings, Anthropic's messages, Gemini's generateContent and Cohere's
chat, streamed and not. What it does can be set for each request by headers: `x-sandbox-latency-ms`, `x-sandbox-chunks`,
`x-sandbox-chunk-ms`, `x-sandbox-status`, `x-sandbox-status-of`
(`gpt-4o=503,…`: of one model's requests only), `x-sandbox-error-rate` (0 to 1), `x-sandbox-rate-limit` (requests a minute),
`x-sandbox-usage` (`input=12,output=3,…`), `x-sandbox-usage-rides` (it comes unasked, in the last chunk of a chat),
`x-sandbox-no-usage`, `x-sandbox-break-after` (chunks before the connection breaks), `x-sandbox-id` (of the answer to a
chat). Its answers are the same for the same request, so that a test can say what to expect.
"""
