// Makes one call with the official JavaScript SDK and prints, as JSON, what an application would have got.
//
// The argument is {host, headers, method, request, abort_after}: images are given in base64 and handed over as bytes,
// `abort_after` stops a stream after so many parts.
import { Ollama } from 'ollama'

const { host, headers, method, request, abort_after: abortAfter } = JSON.parse(process.argv[2])

const bytes = (images) => images.map((image) => new Uint8Array(Buffer.from(image, 'base64')))
if (request?.images) request.images = bytes(request.images)
for (const message of request?.messages ?? []) {
  if (message.images) message.images = bytes(message.images)
}

const parts = []
const got = {}
try {
  const answer = await new Ollama({ host, headers })[method](request)
  if (request?.stream) {
    for await (const part of answer) {
      parts.push(part)
      if (parts.length === abortAfter) answer.abort()
    }
    got.parts = parts
  } else {
    got.result = answer
  }
} catch (error) {
  got.parts = parts
  got.error = { name: error.name, message: error.message, status: error.status_code ?? null }
}
process.stdout.write(JSON.stringify(got))
