// SPDX-License-Identifier: Apache-2.0
// Erasures that a restore undoes: those that the backup does not have as done, out of the store that is replaced or a list that somebody kept. They become rows of the
// restored store, to be done again when a gateway starts on it (gateway/erase_again.c). The thread of the restore, before the restored store counts.
#include "gateway/restore_internal.h"

#include "gateway/clock.h"
#include "gateway/erase.h"
#include "gateway/journal_copy.h"
#include "gateway/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES (4u << 20)

struct carrying {
	struct gw_journal *journal; // the restored one
	struct gw_source *source;
	const struct gw_restore_options *options;
	struct gw_restored *restored;
	int64_t now_us;
	enum gw_error error;
};

// What the restored store says of it: done, or taken over by now. An erasure that ended while the backup was made may be in the one of its files and not in the other.
static bool
is_settled(const struct carrying *carrying, struct gw_span key)
{
	struct gw_erasure erasure = { 0 };
	size_t len = 0, cap = 4096;
	uint8_t *value = malloc(cap);
	bool settled = false;
	enum gw_error error = value != NULL ? gw_journal_get(carrying->journal, key, value, cap, &len) : GW_E_MEMORY;

	if (error == GW_E_TOO_LARGE && (free(value), value = malloc(len)) != NULL)
		error = gw_journal_get(carrying->journal, key, value, len, &len);
	if (error == GW_OK && gw_erasure_read(key, gw_span(value, len), &erasure) == GW_OK)
		settled = (erasure.state == GW_ERASURE_DONE && erasure.done_us < carrying->restored->manifest.begun_us) ||
		    (erasure.state == GW_ERASURE_AGAIN && erasure.again_us == carrying->now_us);
	gw_erasure_fini(&erasure);
	free(value);
	return settled;
}

static void
put_again(struct carrying *carrying, struct gw_erasure *erasure)
{
	struct gw_ticket *ticket = gw_ticket_get(carrying->source);

	erasure->state = GW_ERASURE_AGAIN;
	erasure->again_us = carrying->now_us;
	erasure->done_us = 0;
	erasure->scanned = 0;
	erasure->export_count = 0;
	erasure->counts = (struct gw_erasure_counts){ 0 };
	carrying->error = ticket != NULL ? gw_erasure_put(erasure, ticket) : GW_E_MEMORY;
	if (carrying->error == GW_OK)
		carrying->error = gw_intake_commit(ticket);
	if (ticket != NULL)
		gw_ticket_release(ticket);
	if (carrying->error != GW_OK)
		return;
	carrying->restored->erasures++;
	if (carrying->options->erasure != NULL)
		carrying->options->erasure(carrying->options->arg, erasure);
}

// gw_row_fn
static bool
carry(void *arg, struct gw_span key, struct gw_span value)
{
	struct carrying *carrying = arg;
	struct gw_erasure erasure;

	if (gw_erasure_read(key, value, &erasure) != GW_OK)
		carrying->restored->erasures_damaged++;
	else if (!is_settled(carrying, key))
		put_again(carrying, &erasure);
	gw_erasure_fini(&erasure);
	return carrying->error == GW_OK;
}

// ---- The store that is replaced ----

static void
note_damage(void *arg, uint64_t page, const char *table, const char *words)
{
	struct carrying *carrying = arg;

	(void)page;
	(void)words;
	carrying->restored->erasures_damaged += table[0] == '\0' || strcmp(table, "rows") == 0;
}

static bool
take_entry(void *arg, struct gw_span key, struct gw_span value)
{
	const size_t prefix = sizeof(GW_ERASURE_PREFIX) - 1;

	return key.len < prefix || memcmp(key.at, GW_ERASURE_PREFIX, prefix) != 0 || carry(arg, key, gw_journal_row_value(key, value));
}

// A damaged store is perhaps why a backup is restored: page by page, without LMDB.
static void
carry_replaced(struct carrying *carrying)
{
	const struct gw_pages_walk walk = { .damage = note_damage, .table = "rows", .entry = take_entry, .arg = carrying };
	struct gw_restored *restored = carrying->restored;
	struct gw_pages_seen seen;
	char path[4200];
	int fd;

	snprintf(path, sizeof(path), "%s/data.mdb", carrying->options->to);
	if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		return;
	restored->erasures_read = gw_pages_walk(fd, &walk, &seen, &restored->erasures_why) == GW_OK && restored->erasures_damaged == 0;
	close(fd);
}

// ---- A list: what `patient erasures --json` prints ----

static enum gw_error
take_line(struct carrying *carrying, const char *line, size_t len)
{
	yyjson_doc *doc = yyjson_read(line, len, 0);
	const char *number = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "erasure"));
	struct gw_erasure erasure = { 0 };
	char key[64];
	enum gw_error error = GW_E_FORMAT;

	if (number != NULL && strlen(number) == 16 && strspn(number, "0123456789abcdef") == 16) {
		snprintf(key, sizeof(key), GW_ERASURE_PREFIX "%s", number);
		error = gw_erasure_read(gw_span_text(key), gw_span(line, len), &erasure);
	}
	yyjson_doc_free(doc);
	gw_erasure_fini(&erasure);
	if (error == GW_OK && carrying->journal != NULL)
		(void)carry(carrying, gw_span_text(key), gw_span(line, len));
	return error;
}

// Without a journal: only whether it can be understood.
static enum gw_error
take_list(struct carrying *carrying, struct gw_why *why)
{
	const char *path = carrying->options->erasures;
	FILE *file = fopen(path, "re");
	unsigned long number = 0;
	enum gw_error error = GW_OK;
	char *line = NULL;
	size_t cap = 0;
	ssize_t len;

	if (file == NULL)
		return gw_fail(why, GW_E_ARGUMENT, "cannot open %.120s: %s", path, strerror(errno));
	while (error == GW_OK && carrying->error == GW_OK && (len = getline(&line, &cap, file)) >= 0) {
		number++;
		if (strspn(line, " \t\r\n") == (size_t)len)
			continue;
		if ((size_t)len > LINE_MAX_BYTES || take_line(carrying, line, (size_t)len) != GW_OK)
			error = gw_fail(why, GW_E_ARGUMENT, "%.120s, line %lu: no erasure as `vitalgate patient erasures --json` prints it", path, number);
	}
	free(line);
	fclose(file);
	return error;
}

enum gw_error
gw_restore_check_erasures(const struct gw_restore_options *options, struct gw_why *why)
{
	struct carrying carrying = { .options = options };

	return options->erasures != NULL ? take_list(&carrying, why) : GW_OK;
}

enum gw_error
gw_restore_erasures(const struct gw_restore_options *options, struct gw_journal *journal, struct gw_restored *restored, struct gw_why *why)
{
	struct carrying carrying = { .journal = journal, .options = options, .restored = restored, .now_us = gw_clock_wall_us() };
	struct gw_intake_options settings = { .journal = journal, .group_bytes_max = LINE_MAX_BYTES, .group_tickets_max = 1 };
	struct gw_intake *intake;
	struct gw_source source;
	enum gw_error error = gw_intake_open(&settings, &intake, why);

	if (error != GW_OK)
		return error;
	if ((error = gw_source_init(&source, intake, 1)) == GW_OK) {
		carrying.source = &source;
		carry_replaced(&carrying);
		if (carrying.error == GW_OK && options->erasures != NULL)
			error = take_list(&carrying, why);
		if (error == GW_OK && carrying.error == GW_OK) // under way while the backup was made
			error = gw_journal_each(journal, gw_span_text(GW_ERASURE_PREFIX), gw_span(NULL, 0), carry, &carrying);
		gw_source_fini(&source);
	}
	gw_intake_stop(intake);
	gw_intake_close(intake);
	if (error == GW_OK && carrying.error != GW_OK)
		error = gw_fail(why, carrying.error, "erasures cannot be taken into the restored store: %s", gw_error_text(carrying.error));
	return error;
}
