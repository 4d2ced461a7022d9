// SPDX-License-Identifier: Apache-2.0
// Renewal of credentials: which part's files have changed, and what came of reading them again. main's thread.
#include "gateway/renew.h"

#include <stdlib.h>

struct gw_renew {
	const struct gw_core *core;
	const struct gw_parts *parts;
	struct gw_watch *watch;
	uint64_t refused; // parts, by their place in the program's table: what was read last is not what is in use
};

struct listing {
	struct gw_renew *renew;
	unsigned owner;
};

// gw_file_fn
static void
list_file(void *arg, const char *path)
{
	struct listing *listing = arg;

	if (gw_watch_add(listing->renew->watch, listing->owner, path) != GW_OK)
		gw_diag(GW_WARNING, "gateway.watch", "%s is not watched: too many files; `vitalgate cert reload` takes it up", path);
}

// The configuration that a part runs with, or will run with; NULL: it does not.
static const struct gw_config *
config_of(const struct gw_renew *renew, const struct gw_part *part)
{
	for (size_t i = 0; i < renew->parts->count; i++)
		if (renew->parts->slots[i].part == part)
			return renew->parts->slots[i].core->config;
	return renew->parts->count == 0 && part->enabled(renew->core->config) ? renew->core->config : NULL;
}

void
gw_renew_list(struct gw_renew *renew)
{
	gw_watch_clear(renew->watch);
	for (size_t i = 0; i < renew->core->part_count; i++) {
		const struct gw_part *part = renew->core->parts[i];
		const struct gw_config *config = part->files != NULL ? config_of(renew, part) : NULL;
		struct listing listing = { renew, (unsigned)i };

		if (config != NULL)
			part->files(config, list_file, &listing);
	}
	gw_watch_begin(renew->watch);
}

static uint64_t
owner_bit(const struct gw_renew *renew, const struct gw_part *part)
{
	for (size_t i = 0; i < renew->core->part_count; i++)
		if (renew->core->parts[i] == part)
			return UINT64_C(1) << i;
	return 0;
}

static enum gw_error
renew_part(struct gw_renew *renew, size_t slot, gw_renew_fn *tell, void *arg, struct gw_why *why)
{
	const struct gw_part *part = renew->parts->slots[slot].part;
	uint64_t bit = owner_bit(renew, part);
	struct gw_why words = { "" };
	enum gw_error error = part->renew(renew->parts->slots[slot].instance, &words);

	renew->refused &= ~bit;
	if (error == GW_OK) {
		gw_diag(words.text[0] != '\0' ? GW_WARNING : GW_NOTICE, "gateway.renew", "%s: credentials taken anew%s%s", part->name, words.text[0] != '\0' ? ": " : "",
		    words.text);
		if (tell != NULL)
			tell(arg, part, NULL);
		return GW_OK;
	}
	renew->refused |= bit;
	gw_diag(GW_ERROR, "gateway.renew", "%s: what was in use stays in use: %s", part->name, words.text);
	if (tell != NULL)
		tell(arg, part, &words);
	return gw_fail(why, error, "%s: what was in use stays in use: %.140s", part->name, words.text);
}

static enum gw_error
renew_parts(struct gw_renew *renew, uint64_t which, gw_renew_fn *tell, void *arg, struct gw_why *why)
{
	enum gw_error error = GW_OK;

	for (size_t i = 0; i < renew->parts->count; i++) {
		const struct gw_part *part = renew->parts->slots[i].part;

		if (part->renew == NULL || (which & owner_bit(renew, part)) == 0)
			continue;
		if (renew_part(renew, i, tell, arg, why) != GW_OK)
			error = GW_E_CONFIG;
		gw_notify("WATCHDOG=1");
	}
	return error;
}

enum gw_error
gw_renew_do(struct gw_renew *renew, bool all, gw_renew_fn *tell, void *arg, struct gw_why *why)
{
	uint64_t changed = gw_watch_seen(renew->watch);

	return renew_parts(renew, all ? UINT64_MAX : changed | renew->refused, tell, arg, why);
}

void
gw_renew_look(struct gw_renew *renew)
{
	uint64_t changed = gw_watch_take(renew->watch);
	struct gw_why ignored;

	if (changed != 0)
		(void)!renew_parts(renew, changed, NULL, NULL, &ignored);
}

int
gw_renew_fd(const struct gw_renew *renew)
{
	return gw_watch_fd(renew->watch);
}

int
gw_renew_wait_ms(const struct gw_renew *renew)
{
	return gw_watch_wait_ms(renew->watch);
}

enum gw_error
gw_renew_open(const struct gw_core *core, const struct gw_parts *parts, struct gw_renew **out, struct gw_why *why)
{
	struct gw_renew *renew = calloc(1, sizeof(*renew));
	enum gw_error error;

	*out = NULL;
	if (renew == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	renew->core = core;
	renew->parts = parts;
	if ((error = gw_watch_open(&renew->watch, why)) != GW_OK) {
		free(renew);
		return error;
	}
	*out = renew;
	return GW_OK;
}

void
gw_renew_close(struct gw_renew *renew)
{
	if (renew == NULL)
		return;
	gw_watch_close(renew->watch);
	free(renew);
}
