# SPDX-License-Identifier: Apache-2.0
# The bus broker, and with the target "device" the clients that stand in for a bedside device.
FROM debian:trixie-slim AS bus
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends mosquitto mosquitto-clients \
 && rm -rf /var/lib/apt/lists/*
USER 8883:8883
EXPOSE 1883/tcp 8884/tcp
ENTRYPOINT ["/usr/sbin/mosquitto"]
CMD ["-c", "/hub/bus/mosquitto.conf"]

FROM bus AS device
USER root
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends libcoap3-bin \
 && rm -rf /var/lib/apt/lists/*
USER 8883:8883
ENTRYPOINT []
CMD ["sleep", "infinity"]
