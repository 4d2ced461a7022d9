// SPDX-License-Identifier: Apache-2.0
// The parts that run: main's thread starts and ends them, also while commands look at them. Each has a copy of the core of its own, so that the
// configuration it was started with stays what it sees until it is closed.
#include "gateway/daemon.h"

#include <stdlib.h>
#include <string.h>

void
gw_parts_hold(const struct gw_parts *parts)
{
	if (parts != NULL && parts->lock != NULL)
		pthread_rwlock_rdlock(parts->lock);
}

void
gw_parts_release(const struct gw_parts *parts)
{
	if (parts != NULL && parts->lock != NULL)
		pthread_rwlock_unlock(parts->lock);
}

const struct gw_part *
gw_parts_find(const struct gw_parts *parts, struct gw_span name, void **instance)
{
	for (size_t i = 0; parts != NULL && i < parts->count; i++) {
		if (!gw_span_is(name, parts->slots[i].part->name))
			continue;
		*instance = parts->slots[i].instance;
		return parts->slots[i].part;
	}
	return NULL;
}

// The place of a part in the program's table, which is the order of the slots.
static size_t
rank_of(const struct gw_core *core, const struct gw_part *part)
{
	size_t rank = 0;

	while (rank < core->part_count && core->parts[rank] != part)
		rank++;
	return rank;
}

static void
insert(struct gw_parts *parts, const struct gw_part *part, void *instance, struct gw_core *core)
{
	size_t at = parts->count++;

	for (; at > 0 && rank_of(core, parts->slots[at - 1].part) > rank_of(core, part); at--)
		parts->slots[at] = parts->slots[at - 1];
	parts->slots[at].part = part;
	parts->slots[at].instance = instance;
	parts->slots[at].core = core;
}

enum gw_error
gw_parts_start(struct gw_parts *parts, const struct gw_part *part, const struct gw_core *core, struct gw_why *why)
{
	struct gw_core *own = malloc(sizeof(*own));
	struct gw_why part_why = { "" };
	void *instance = NULL;
	enum gw_error error = own == NULL || parts->count == GW_PARTS_MAX ? GW_E_MEMORY : GW_OK;

	if (error == GW_OK) {
		*own = *core;
		error = part->start(own, &instance, &part_why);
	}
	if (error == GW_OK) {
		insert(parts, part, instance, own);
		return GW_OK;
	}
	free(own);
	return gw_fail(why, error, "%s: %.160s", part->name, part_why.text[0] != '\0' ? part_why.text : gw_error_text(error));
}

void
gw_parts_close(struct gw_parts *parts, size_t i)
{
	parts->slots[i].part->close(parts->slots[i].instance);
	free(parts->slots[i].core);
	memmove(&parts->slots[i], &parts->slots[i + 1], (--parts->count - i) * sizeof(parts->slots[0]));
}

// ---- The configuration for them ----

enum gw_error
gw_parts_check(const struct gw_part *const *table, size_t count, const struct gw_config *config, struct gw_why *why)
{
	enum gw_error error = gw_config_check(config, why);

	for (size_t i = 0; i < count && error == GW_OK; i++) {
		if (table[i]->check != NULL)
			error = table[i]->check(config, why);
	}
	return error;
}

// "file: what is wrong"; the end of a long path says more than its beginning.
static enum gw_error
fail_in(const char *file, enum gw_error error, struct gw_why *why)
{
	struct gw_why words = *why;
	size_t used = strlen(words.text) + sizeof("...: "), len = strlen(file), room = used < sizeof(why->text) ? sizeof(why->text) - used : 0;

	return gw_fail(why, error, "%s%s: %s", len > room ? "..." : "", file + (len > room ? len - room : 0), words.text);
}

enum gw_error
gw_parts_config(const char *file, const struct gw_part *const *table, size_t count, struct gw_config **config, struct gw_why *why)
{
	enum gw_error error = gw_config_load(file, config, why);

	if (error == GW_OK && (error = gw_parts_check(table, count, *config, why)) != GW_OK) {
		gw_config_free(*config);
		*config = NULL;
		return fail_in(file, error, why);
	}
	return error;
}
