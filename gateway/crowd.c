// SPDX-License-Identifier: Apache-2.0
// A hash table of counts with chains; an entry lives as long as its count is not 0. The caller's thread.
#include "gateway/crowd.h"

#include "gateway/record.h"

#include <netinet/in.h>
#include <stdlib.h>

struct gw_crowd_entry {
	struct gw_crowd_entry *next;
	uint64_t hash;
	uint32_t count, len;
	uint8_t name[];
};

bool
gw_crowd_init(struct gw_crowd *crowd, size_t names)
{
	size_t slots = 64;

	while (slots < names)
		slots *= 2;
	crowd->mask = slots - 1;
	crowd->slots = calloc(slots, sizeof(*crowd->slots));
	return crowd->slots != NULL;
}

void
gw_crowd_fini(struct gw_crowd *crowd)
{
	for (size_t i = 0; crowd->slots != NULL && i <= crowd->mask; i++) {
		while (crowd->slots[i] != NULL) {
			struct gw_crowd_entry *entry = crowd->slots[i];

			crowd->slots[i] = entry->next;
			free(entry);
		}
	}
	free(crowd->slots);
	crowd->slots = NULL;
}

// The link that points to the name's entry, or the end of its chain.
static struct gw_crowd_entry **
find(const struct gw_crowd *crowd, struct gw_span name, uint64_t hash)
{
	struct gw_crowd_entry **at = &crowd->slots[hash & crowd->mask];

	while (*at != NULL && ((*at)->hash != hash || !gw_span_equal(gw_span((*at)->name, (*at)->len), name)))
		at = &(*at)->next;
	return at;
}

enum gw_error
gw_crowd_join(struct gw_crowd *crowd, struct gw_span name)
{
	uint64_t hash = gw_name_hash(name);
	struct gw_crowd_entry **at = find(crowd, name, hash), *entry = *at;

	if (entry == NULL) {
		entry = calloc(1, sizeof(*entry) + name.len);
		if (entry == NULL)
			return GW_E_MEMORY;
		entry->hash = hash;
		entry->len = (uint32_t)name.len;
		memcpy(entry->name, name.at, name.len);
		*at = entry;
	}
	entry->count++;
	return GW_OK;
}

void
gw_crowd_leave(struct gw_crowd *crowd, struct gw_span name)
{
	struct gw_crowd_entry **at = find(crowd, name, gw_name_hash(name)), *entry = *at;

	if (entry == NULL || --entry->count > 0)
		return;
	*at = entry->next;
	free(entry);
}

uint32_t
gw_crowd_count(const struct gw_crowd *crowd, struct gw_span name)
{
	const struct gw_crowd_entry *entry = *find(crowd, name, gw_name_hash(name));

	return entry != NULL ? entry->count : 0;
}

static uint64_t
from_bytes(const uint8_t *at, size_t len)
{
	uint64_t value = 0;

	for (size_t i = 0; i < len; i++)
		value = value << 8 | at[i];
	return value;
}

uint64_t
gw_crowd_address(const struct sockaddr *address)
{
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)address;
	const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)address;

	if (address->sa_family == AF_INET)
		return from_bytes((const uint8_t *)&four->sin_addr, 4);
	if (address->sa_family != AF_INET6)
		return 0;
	if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
		return from_bytes(six->sin6_addr.s6_addr + 12, 4);
	return from_bytes(six->sin6_addr.s6_addr, 8);
}
