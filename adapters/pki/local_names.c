// SPDX-License-Identifier: Apache-2.0
// What this machine is called and where it can be reached: names that the site adds, its host name, and every address of its interfaces. Any thread.
#include "adapters/pki/local.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_BYTES 256

struct list {
	size_t count;
	char text[GW_PKI_NAMES_MAX][NAME_BYTES];
};

static void
add(struct list *list, const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len >= NAME_BYTES || list->count == GW_PKI_NAMES_MAX)
		return;
	for (size_t i = 0; i < list->count; i++) {
		if (strcmp(list->text[i], name) == 0)
			return;
	}
	memcpy(list->text[list->count], name, len + 1);
	list->count++;
}

// As inet_ntop writes it, so that it can be compared; a name stays a name.
static void
add_given(struct list *list, const char *name)
{
	char text[INET6_ADDRSTRLEN];
	uint8_t bytes[16];

	if (inet_pton(AF_INET6, name, bytes) == 1 && inet_ntop(AF_INET6, bytes, text, sizeof(text)) != NULL)
		add(list, text);
	else
		add(list, name);
}

// Letters, digits, '-', '.', '_' and a leading '*': what a certificate takes as a DNS name.
static bool
is_name(const char *text)
{
	return text[0] != '\0' && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == strlen(text);
}

// Link-local addresses mean nothing without an interface, so no device is told one.
static void
add_address(struct list *list, const struct sockaddr *at)
{
	char text[INET6_ADDRSTRLEN];

	if (at->sa_family == AF_INET && inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)at)->sin_addr, text, sizeof(text)) != NULL)
		add(list, text);
	if (at->sa_family != AF_INET6)
		return;
	const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)at)->sin6_addr;

	if (!IN6_IS_ADDR_LINKLOCAL(six) && inet_ntop(AF_INET6, six, text, sizeof(text)) != NULL)
		add(list, text);
}

static enum gw_error
add_addresses(struct list *list, struct gw_why *why)
{
	struct ifaddrs *first;

	if (getifaddrs(&first) != 0)
		return gw_fail(why, GW_E_SYSTEM, "the addresses of this machine cannot be read: %s", strerror(errno));
	for (const struct ifaddrs *at = first; at != NULL; at = at->ifa_next) {
		if (at->ifa_addr != NULL)
			add_address(list, at->ifa_addr);
	}
	freeifaddrs(first);
	return GW_OK;
}

enum gw_error
gw_local_names(const struct gw_config *config, char ***names, size_t *count, struct gw_why *why)
{
	struct list *list = calloc(1, sizeof(*list));
	char host[NAME_BYTES] = "";
	enum gw_error error;

	if (list == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	for (size_t i = 0; i < config->tls_names.count; i++)
		add_given(list, config->tls_names.at[i].text);
	if (gethostname(host, sizeof(host) - 1) == 0 && is_name(host))
		add(list, host);
	add(list, "localhost");
	add(list, "127.0.0.1");
	add(list, "::1");
	error = add_addresses(list, why);
	*count = list->count;
	*names = error == GW_OK ? calloc(list->count + 1, sizeof(char *) + NAME_BYTES) : NULL;
	if (*names == NULL) {
		free(list);
		return error != GW_OK ? error : gw_fail(why, GW_E_MEMORY, "out of memory");
	}
	for (size_t i = 0; i < list->count; i++)
		(*names)[i] = memcpy((char *)(*names + list->count + 1) + i * NAME_BYTES, list->text[i], NAME_BYTES);
	free(list);
	return GW_OK;
}
