// POST of one event as a service on Fastify does it: RS256 token with fast-jwt's cache, JSON schema, one insert a request.
// Settings come by the environment; see fastify.py, which starts this.
import cluster from 'node:cluster'
import { randomUUID } from 'node:crypto'

import { createVerifier, TOKEN_ERROR_CODES } from 'fast-jwt'
import Fastify from 'fastify'
import pg from 'pg'

const { PEER_PORT, PEER_WORKERS, PEER_KEY, PEER_ISSUER, PEER_AUDIENCE, PEER_TABLE, DATABASE_URL } = process.env

const event = {
  type: 'object',
  required: ['file_id', 'event_type'],
  additionalProperties: false,
  properties: {
    file_id: { type: 'string', format: 'uuid' },
    event_type: { enum: ['upload', 'update', 'delete'] },
    metadata: { type: 'object' }
  }
}
const created = {
  type: 'object',
  properties: { message: { type: 'string' }, event_id: { type: 'string' } }
}
const insert = `
  INSERT INTO ${PEER_TABLE} (id, position, file_id, event_type, created_at, metadata, created_by)
  VALUES ($1, nextval('${PEER_TABLE}_position'), $2, $3, clock_timestamp(), $4, $5)`

function serve () {
  const pool = new pg.Pool({ connectionString: DATABASE_URL, max: 20 })
  const verify = createVerifier({
    key: PEER_KEY, algorithms: ['RS256'], allowedIss: PEER_ISSUER, allowedAud: PEER_AUDIENCE, cache: 1000
  })
  // By default Fastify removes or converts members that do not fit the schema.
  const ajv = { customOptions: { removeAdditional: false, coerceTypes: false } }
  const app = Fastify({ logger: false, bodyLimit: 131072, ajv })

  async function authorize (request, reply) {
    const [scheme, token] = (request.headers.authorization ?? '').split(' ')
    if (scheme !== 'Bearer' || !token) return reply.code(401).send()
    try {
      request.claims = verify(token)
    } catch (error) {
      if (error.code in TOKEN_ERROR_CODES) return reply.code(401).send()
      throw error
    }
    if (!request.claims.scope?.split(' ').includes('write:sync')) return reply.code(403).send()
  }

  app.decorateRequest('claims', null)
  app.post('/sync-events', { onRequest: authorize, schema: { body: event, response: { 201: created } } },
    async (request, reply) => {
      const id = randomUUID()
      const { file_id: fileId, event_type: type, metadata = null } = request.body
      await pool.query({ name: 'insert', text: insert, values: [id, fileId, type, metadata, request.claims.sub] })
      reply.code(201)
      return { message: 'Sync event created successfully', event_id: id }
    })
  app.get('/health', async () => ({ status: 'healthy' }))
  return app.listen({ host: '127.0.0.1', port: Number(PEER_PORT) })
}

const workers = Number(PEER_WORKERS)
if (cluster.isPrimary && workers > 1) {
  for (let number = 0; number < workers; number++) cluster.fork()
  process.on('SIGTERM', () => process.exit(0)) // workers end with the channel to it
} else {
  process.on('SIGTERM', () => process.exit(0))
  await serve()
}
