// SPDX-License-Identifier: Apache-2.0
// The listening socket: one for IPv6 and IPv4 where the address is "::". main's thread.
#include "adapters/mqtt/door.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static enum gw_error
bind_one(const struct addrinfo *ai, int *out, struct gw_why *why)
{
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, off = 0;

	if (fd < 0)
		return gw_fail(why, GW_E_SYSTEM, "socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) != 0 || listen(fd, 1024) != 0) {
		int error = errno;

		close(fd);
		return gw_fail(why, GW_E_SYSTEM, "cannot listen there: %s", strerror(error));
	}
	*out = fd;
	return GW_OK;
}

static void
say_listening(int fd)
{
	struct sockaddr_storage at;
	socklen_t len = sizeof(at);
	char host[64] = "", port[8] = "";

	if (getsockname(fd, (struct sockaddr *)&at, &len) == 0)
		(void)getnameinfo((struct sockaddr *)&at, len, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
	gw_diag(GW_NOTICE, "mqtt.listening", "address=%s port=%s", host, port);
}

enum gw_error
gw_mqtt_listen(const char *address, int64_t port, int *out, struct gw_why *why)
{
	struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM }, *found = NULL;
	struct gw_why detail;
	enum gw_error error;
	char service[8];

	snprintf(service, sizeof(service), "%u", (unsigned)port & 0xFFFF);
	if (getaddrinfo(address, service, &hints, &found) != 0)
		return gw_fail(why, GW_E_CONFIG, "mqtt.address: %s is not an IP address", address);
	error = bind_one(found, out, &detail);
	freeaddrinfo(found);
	if (error != GW_OK && strcmp(address, "::") == 0) // a machine without IPv6
		return gw_mqtt_listen("0.0.0.0", port, out, why);
	if (error != GW_OK)
		return gw_fail(why, error, "%s (mqtt.address %s, mqtt.port %s)", detail.text, address, service);
	say_listening(*out);
	return GW_OK;
}
