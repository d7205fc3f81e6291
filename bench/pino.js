// Writes a log as the BFF does, with the real pino and a clock of its own: node pino.js FILE BYTES [SEED] [START_MS]
// Shapes: pino-http's request lines, calls to the vendors, nestjs-pino's contexts, errors with stacks, and traps.
const { openSync, writeSync, closeSync } = require('node:fs')
const { join } = require('node:path')
const where = process.env.PINO_MODULES || join(__dirname, 'node_modules')
const pino = require(join(where, 'pino'))
const [file, bytes, seed = '7', start = '1795453000000'] = process.argv.slice(2)

let state = Number(seed) >>> 0
const random = () => { // mulberry32: the same log from the same seed
  state = (state + 0x6D2B79F5) >>> 0
  let t = Math.imul(state ^ (state >>> 15), 1 | state)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296
}
const pick = (list) => list[Math.floor(random() * list.length)]
const hex = (n) => Array.from({ length: n }, () => '0123456789abcdef'[Math.floor(random() * 16)]).join('')
const took = (median) => Math.max(1, median * Math.exp((random() + random() + random() - 1.5) * 1.6) * (random() < 0.01 ? 20 : 1))

let now = Number(start), written = 0, chunks = [], pending = 0
const fd = openSync(file, 'w')
const flush = () => { writeSync(fd, chunks.join('')); chunks = []; pending = 0 }
const put = (line) => { chunks.push(line); const n = Buffer.byteLength(line); pending += n; written += n; if (pending > 1 << 20) flush() }
const log = pino({ timestamp: () => `,"time":${Math.floor(now)}`, base: { pid: 829, hostname: 'bff-1' },
  redact: ['req.headers.authorization', 'req.headers.cookie'] }, { write: put })
const routes = ['/api/orders', '/api/catalog', '/api/invoices', '/api/auth/login', '/api/sims/details', '/api/subscriptions', '/api/me']
const agents = ['Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36', 'node', 'okhttp/4.12.0']
const actions = { WHMCS: ['GetInvoices', 'GetClientsDetails', 'AddOrder'], Salesforce: ['query', 'upsert', 'composite'],
  Freebit: ['getTrafficInfo', 'getDetail'], Stripe: ['paymentIntents.create'] }
const contexts = ['OrderOrchestrator', 'CatalogService', 'SalesforcePubSubSubscriber', 'ProvisioningProcessor', 'TokenBlacklist']

let id = 0
const request = () => ({ id: ++id, method: pick(['GET', 'GET', 'GET', 'POST']), url: `${pick(routes)}/${id % 977}?page=${id % 7}`, query: {},
  headers: { host: 'portal.example.com', connection: 'keep-alive', authorization: `Bearer ${hex(32)}`, 'x-correlation-id': hex(16),
    accept: 'application/json', 'user-agent': pick(agents) }, remoteAddress: `203.0.113.${id % 251}`, remotePort: 30000 + id % 30000 })

function line () {
  now += -Math.log(1 - random()) * 33
  const roll = random()
  if (roll < 0.56) { // a request
    const req = request(), ms = Math.round(took(80)), bad = random()
    const statusCode = bad < 0.012 ? pick([500, 502, 503]) : bad < 0.06 ? pick([401, 404, 429]) : bad < 0.065 ? null : 200
    const res = { statusCode, headers: { 'content-type': 'application/json; charset=utf-8', etag: `W/"${hex(12)}"`, 'content-length': `${id % 9000}` } }
    if (statusCode >= 500) {
      log.child({ req }).error({ context: 'ExceptionsHandler', err: new Error('WHMCS API unavailable: connect ECONNREFUSED 10.0.0.5:443') }, 'WHMCS API unavailable')
      return log.child({ req }).info({ res, err: new Error(`failed with status code ${statusCode}`), responseTime: ms }, 'request errored')
    }
    return log.child({ req }).info({ res, responseTime: ms }, statusCode === null ? 'request aborted' : 'request completed')
  }
  if (roll < 0.80) { // a call to a vendor
    const api = pick(Object.keys(actions)), ms = took(api === 'WHMCS' ? 350 : 120)
    return log.child({ req: { id, method: 'GET', url: pick(routes) } }).info({ context: contexts[0], api, action: pick(actions[api]),
      duration: api === 'Freebit' ? Number(ms.toFixed(2)) : Math.round(ms), correlationId: hex(16) }, `${api} request completed`)
  }
  if (roll < 0.93) return log.info({ context: pick(contexts), orderId: hex(18), attempt: id % 3 }, `Order ${hex(8)} moved to the next step of its provisioning`)
  if (roll < 0.96) return log.warn({ queue: 'order-provisioning', jobId: hex(12), failedReason: 'WHMCS AddOrder failed' }, 'Job failed')
  if (roll < 0.975) return log.error({ err: Object.assign(new Error('Salesforce JWT auth failed: invalid_grant'), { statusCode: 400 }) }, 'Platform Event subscription failed')
  if (roll < 0.985) return log.info({ detail: { level: 50, duration: 9999, res: { statusCode: 500 } } }, 'nested traps')
  if (roll < 0.992) return log.info({ body: '{"level":50,"res":{"statusCode":500,"headers":{}},"responseTime":1,"msg":"quoted"}' }, 'JSON inside a string')
  if (roll < 0.9992) return log.debug({ duration: 5 }, 'below the level')
  put(pick(['\n', 'Server listening on 4000\n', '    at Object.<anonymous> (/app/main.js:1:1)\n']))
}
while (written < Number(bytes)) line()
flush()
closeSync(fd)
