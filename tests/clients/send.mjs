// Sends known traces with OpenTelemetry's Node SDK and prints what was sent.
//
// usage: node send.mjs json|protobuf ENDPOINT TRACES
// Prints one JSON list of spans once every export has been acknowledged, and fails otherwise.

import { SpanKind, SpanStatusCode, ROOT_CONTEXT, trace } from "@opentelemetry/api";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { SimpleSpanProcessor, TracerProvider } from "@opentelemetry/sdk-trace";

const [, , encoding, endpoint, traces] = process.argv;
const { OTLPTraceExporter } =
  encoding === "json"
    ? await import("@opentelemetry/exporter-trace-otlp-http")
    : await import("@opentelemetry/exporter-trace-otlp-proto");

const inner = new OTLPTraceExporter({ url: `${endpoint}/v1/traces` });
const sent = [];
const failures = [];
const ledger = {
  export(spans, done) {
    inner.export(spans, (result) => {
      if (result.code === 0) sent.push(...spans.map(describe));
      else failures.push(String(result.error));
      done(result);
    });
  },
  shutdown: () => inner.shutdown(),
  forceFlush: () => inner.forceFlush?.() ?? Promise.resolve(),
};

const nanos = ([seconds, ns]) => (BigInt(seconds) * 1000000000n + BigInt(ns)).toString();

function describe(span) {
  const context = span.spanContext();
  const status = ["unset", "ok", "error"][span.status.code];
  return {
    trace_id: context.traceId,
    span_id: context.spanId,
    parent_span_id: span.parentSpanContext?.spanId ?? null,
    name: span.name,
    kind: ["internal", "server", "client", "producer", "consumer"][span.kind],
    start: nanos(span.startTime),
    end: nanos(span.endTime),
    status,
    status_message: span.status.message ?? null,
    attributes: span.attributes,
    resource: span.resource.attributes,
    scope: span.instrumentationScope.name,
    events: span.events.map((e) => ({ name: e.name, time: nanos(e.time), attributes: e.attributes ?? {} })),
    links: span.links.map((l) => ({
      trace_id: l.context.traceId,
      span_id: l.context.spanId,
      attributes: l.attributes ?? {},
    })),
  };
}

const provider = new TracerProvider({
  resource: resourceFromAttributes({ "service.name": `node-${encoding}`, "shop.regions": ["eu", "us"], "shop.tier": 3 }),
  spanProcessors: [new SimpleSpanProcessor({ exporter: ledger })],
});
const tracer = provider.getTracer("shop.node", "1.2.3");

for (let number = 0; number < Number(traces); number++) {
  const root = tracer.startSpan("POST /orders", { kind: SpanKind.SERVER }, ROOT_CONTEXT);
  root.setAttribute("text", `größe ${number} \u{1f680}`);
  root.setAttribute("int", -(2 ** 40) - number);
  root.setAttribute("double", number / 3 + 0.25);
  root.setAttribute("bool", number % 2 === 0);
  root.setAttribute("texts", ["a", "", "c"]);
  root.setAttribute("ints", [1, 2, -3]);
  // Whole numbers would go out as intValue, whatever their size.
  root.setAttribute("doubles", [0.5, -1.5e-300]);
  root.setAttribute("bools", [true, false]);
  root.setAttribute("empty", "");
  root.addEvent("accepted", { step: number, note: "first" });
  const links = [{ context: root.spanContext(), attributes: { why: "retry" } }];
  const child = tracer.startSpan("charge", { kind: SpanKind.CLIENT, links }, trace.setSpan(ROOT_CONTEXT, root));
  child.recordException(new Error("card declined"));
  child.setStatus({ code: SpanStatusCode.ERROR, message: "card declined" });
  child.end();
  root.setStatus({ code: SpanStatusCode.OK });
  root.end();
}

await provider.forceFlush();
await provider.shutdown();
if (failures.length > 0) {
  console.error(failures[0]);
  process.exit(1);
}
process.stdout.write(JSON.stringify(sent));
