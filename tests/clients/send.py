"""Sends known traces with OpenTelemetry's Python SDK and prints what was sent.

usage: send.py grpc|http ENDPOINT TRACES
Prints one JSON list of spans once every export has been acknowledged, and fails otherwise.
"""

import json
import sys

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanKind, Status, StatusCode


class Ledger(SpanExporter):
    """Writes down each span that the wrapped exporter got acknowledged."""

    def __init__(self, exporter):
        self.exporter = exporter
        self.spans = []

    def export(self, spans):
        result = self.exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            raise SystemExit(f"export failed: {result}")
        self.spans.extend(describe(span) for span in spans)
        return result

    def shutdown(self):
        self.exporter.shutdown()

    def force_flush(self, timeout_millis=30000):
        return True


def plain(attributes):
    return {k: list(v) if isinstance(v, tuple) else v for k, v in (attributes or {}).items()}


def describe(span):
    context = span.context
    return {
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "parent_span_id": f"{span.parent.span_id:016x}" if span.parent else None,
        "name": span.name,
        "kind": span.kind.name.lower(),
        "start": str(span.start_time),
        "end": str(span.end_time),
        "status": span.status.status_code.name.lower(),
        "status_message": span.status.description,
        "attributes": plain(span.attributes),
        "resource": plain(span.resource.attributes),
        "scope": span.instrumentation_scope.name,
        "events": [
            {"name": e.name, "time": str(e.timestamp), "attributes": plain(e.attributes)} for e in span.events
        ],
        "links": [
            {
                "trace_id": f"{link.context.trace_id:032x}",
                "span_id": f"{link.context.span_id:016x}",
                "attributes": plain(link.attributes),
            }
            for link in span.links
        ],
    }


def main():
    protocol, endpoint, traces = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(endpoint=endpoint, insecure=True)
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")
    ledger = Ledger(exporter)
    resource = Resource.create({"service.name": f"py-{protocol}", "shop.regions": ["eu", "us"], "shop.tier": 3})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(SimpleSpanProcessor(ledger))
    tracer = provider.get_tracer("shop.python", "1.2.3")
    for number in range(traces):
        with tracer.start_as_current_span("POST /orders", kind=SpanKind.SERVER) as root:
            root.set_attribute("text", f"größe {number} \U0001f680")
            root.set_attribute("int", -(2**53) - number)
            root.set_attribute("double", number / 3)
            root.set_attribute("bool", number % 2 == 0)
            root.set_attribute("texts", ["a", "", "c"])
            root.set_attribute("ints", [1, 2, -3])
            root.set_attribute("doubles", [0.5, -1e300])
            root.set_attribute("bools", [True, False])
            root.set_attribute("empty", "")
            root.add_event("accepted", {"step": number, "note": "first"})
            link = Link(root.get_span_context(), {"why": "retry"})
            with tracer.start_as_current_span("charge", kind=SpanKind.CLIENT, links=[link]) as child:
                child.record_exception(ValueError("card declined"))
                child.set_status(Status(StatusCode.ERROR, "card declined"))
            root.set_status(Status(StatusCode.OK))
    provider.shutdown()
    json.dump(ledger.spans, sys.stdout)


main()
