"""A web application whose requests are traced through all jobs that follow from them.

::

    pip install "exq-anyio[telemetry]" "fastapi[standard]" \
        opentelemetry-exporter-otlp-proto-http opentelemetry-instrumentation-fastapi
    otelcol --config examples/opentelemetry/collector.yaml
    export EXQ_URL=redis://localhost OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318
    OTEL_SERVICE_NAME=worker python examples/opentelemetry/traced_jobs.py
    OTEL_SERVICE_NAME=web fastapi run examples/opentelemetry/traced_web.py
    curl -X POST localhost:8000/orders/7

The collector appends each trace to ``traces.json``.
"""

from fastapi import FastAPI, Request
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from traced_jobs import charge
from tracing import trace_to_collector

import exq_anyio as exq
from exq_anyio.contrib.asgi import lifespan
from exq_anyio.contrib.opentelemetry import instrument

trace_to_collector()
app = FastAPI(lifespan=lifespan(instrument(mode="enqueuer")))
FastAPIInstrumentor.instrument_app(app, exclude_spans=["receive", "send"])


@app.post("/orders/{order}", status_code=202)
async def place(order: int, request: Request) -> dict[str, str]:
    """Answer as soon as the job is stored."""
    q: exq.Exq = request.state.exq
    return {"jid": await q.push(charge.job(order))}
