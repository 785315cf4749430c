# syntax=docker/dockerfile:1
# Two stages: the toolchain stays behind, the image holds one program and its configuration.
FROM rust:1-slim-bookworm AS build
# zstd, mimalloc and ring are compiled from C
RUN apt-get update && apt-get install --yes --no-install-recommends gcc g++ libc6-dev make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist --bin weavergen \
    && install -D target/dist/weavergen /out/weavergen

FROM debian:bookworm-slim
RUN groupadd --system --gid 10001 weavergen \
    && useradd --system --uid 10001 --gid weavergen --home-dir /var/lib/weavergen --shell /usr/sbin/nologin weavergen \
    && install -d -o weavergen -g weavergen -m 0750 /var/lib/weavergen
COPY --from=build /out/weavergen /usr/local/bin/weavergen
COPY docker/weavergen.yaml /etc/weavergen/weavergen.yaml
# `weavergen health` and `weavergen sql` find the daemon by run.json in this folder
ENV XDG_DATA_HOME=/var/lib
USER 10001:10001
WORKDIR /var/lib/weavergen
VOLUME /var/lib/weavergen
# OTLP over gRPC and HTTP, API, own metrics, health
EXPOSE 4317 4318 8080 8888 13133
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s --retries=3 CMD ["weavergen", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["weavergen"]
CMD ["--config", "/etc/weavergen/weavergen.yaml"]
