# The webhook's image: one static binary and nothing else.
#   docker build --tag memcached-injector:0.1.0 .
# For nodes of both architectures, each built as on such a machine:
#   docker buildx build --platform linux/amd64,linux/arm64 --tag memcached-injector:0.1.0 .
# .ci/arm64 tries the binary of arm64 without such a machine.
FROM rust:1-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin memcached-injector

FROM scratch
COPY --from=build /src/target/release/memcached-injector /memcached-injector
# A number, because a kubelet cannot tell that a name is not root.
USER 65532:65532
ENTRYPOINT ["/memcached-injector"]
