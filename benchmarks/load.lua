-- wrk's script: posts unique events or reads known ones, and prints the result as one line of JSON.
-- Settings come by the environment; see load.py.
local threads = {}
local tokens_path = os.getenv("BENCH_TOKENS")
local batch = tonumber(os.getenv("BENCH_BATCH") or "0")
local mean_delay = tonumber(os.getenv("BENCH_DELAY_MS") or "0")
local ids_path = os.getenv("BENCH_IDS")
local reads_path = os.getenv("BENCH_READS")
local random, format = math.random, string.format

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  math.randomseed(tonumber(os.getenv("BENCH_SEED")))
  good = 0
  headers, turn = {}, 0
  for token in io.lines(tokens_path) do
    headers[#headers + 1] = {
      ["Authorization"] = "Bearer " .. token,
      ["Content-Type"] = not reads_path and "application/json" or nil,
    }
  end
  if reads_path then
    reads = {}
    for line in io.lines(reads_path) do
      reads[#reads + 1] = wrk.format("GET", wrk.path .. line, headers[#reads % #headers + 1])
    end
  else
    ids = ids_path and io.open(ids_path, "w")
  end
end

local function event()
  return format(
    '{"file_id":"%08x-%04x-4%03x-a%03x-%06x%06x","event_type":"upload",'
      .. '"metadata":{"path":"reports/%d.pdf","size":5242880}}',
    random(0, 0x7fffffff), random(0, 0xffff), random(0, 0xfff), random(0, 0xfff), random(0, 0xffffff),
    random(0, 0xffffff), random(1, 1000000)
  )
end

local function batch_of_events()
  local events = {}
  for number = 1, batch do
    events[number] = event()
  end
  return '{"events":[' .. table.concat(events, ",") .. "]}"
end

function request()
  if reads then
    return reads[random(1, #reads)]
  end
  turn = turn % #headers + 1
  return wrk.format("POST", nil, headers[turn], batch > 0 and batch_of_events() or event())
end

if ids_path then
  function response(status, headers, body)
    if status == 201 then
      good = good + 1
      for id in body:gmatch('"(%x+%-%x+%-%x+%-%x+%-%x+)"') do
        ids:write(id, "\n")
      end
    end
  end
end

if mean_delay > 0 then
  function delay()
    return random(0, 2 * mean_delay)
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  local sockets = errors.connect + errors.read + errors.write + errors.timeout
  local succeeded = summary.requests - errors.status
  if ids_path then
    succeeded = 0
    for _, thread in ipairs(threads) do
      succeeded = succeeded + thread:get("good")
    end
  end
  print(format(
    '{"seconds": %.6f, "succeeded": %d, "failed": %d, "socket_errors": %d, "p50_ms": %.3f, "p90_ms": %.3f, '
      .. '"p99_ms": %.3f, "p999_ms": %.3f, "max_ms": %.3f}',
    summary.duration / 1e6, succeeded, summary.requests - succeeded, sockets, latency:percentile(50) / 1e3,
    latency:percentile(90) / 1e3, latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3, latency.max / 1e3
  ))
end
