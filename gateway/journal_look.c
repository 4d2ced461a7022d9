// SPDX-License-Identifier: Apache-2.0
// Before LMDB is let near the journal: it follows whatever a page says, so a page that was damaged on the disk may end the process, and the next one as well.
// A file beside the store is there while it is open: whoever finds it knows that a process ended without closing. It grows by a byte each time that this
// happens in a row. Whoever holds the store's lock.
#include "gateway/clock.h"
#include "gateway/diag.h"
#include "gateway/journal_internal.h"
#include "gateway/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARK "open"
#define ALWAYS_PAGES 16384 // trees up to this (64 MiB) are looked at in any case: that takes a fraction of a second
#define ENDS_MAX 3         // after so many ends in a row that were not in order, what long values hold is read as well: a disk may have lost it
#define NAMED_MAX 20
#define TELL_US 5000000

struct look {
	const struct gw_journal *journal;
	bool must, told;
	int64_t tell_us;
	uint64_t named;
	struct gw_why first;
};

static void
damaged(void *arg, uint64_t page, const char *table, const char *words)
{
	struct look *look = arg;

	if (look->named == 0)
		(void)gw_fail(&look->first, GW_E_CORRUPT, "page %llu%s%s: %s", (unsigned long long)page, table[0] != '\0' ? " of " : "", table, words);
	if (look->named++ < NAMED_MAX)
		gw_diag(GW_ERROR, "store.damaged", "page %llu%s%s: %s", (unsigned long long)page, table[0] != '\0' ? " of " : "", table, words);
}

static bool
progress(void *arg, uint64_t pages, uint64_t total)
{
	struct look *look = arg;
	int64_t now = gw_clock_mono_us();

	if (!look->must && total > ALWAYS_PAGES)
		return false;
	if (now < look->tell_us)
		return true;
	look->tell_us = now + TELL_US;
	look->told = true;
	gw_diag(GW_NOTICE, "store.check", "the store in %s was not closed in order: %llu of about %llu pages looked at", look->journal->dir,
	    (unsigned long long)pages, (unsigned long long)total);
	return true;
}

static enum gw_error
look_at(struct gw_journal *journal, const char *path, off_t ends, struct gw_why *why)
{
	struct look look = { .journal = journal, .must = ends > 0, .tell_us = gw_clock_mono_us() + TELL_US };
	struct gw_pages_walk walk = { .damage = damaged, .progress = progress, .arg = &look, .deep = ends > 0, .contents = ends >= ENDS_MAX };
	struct gw_pages_seen seen;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	enum gw_error error;

	if (fd < 0)
		return errno == ENOENT ? GW_OK : gw_fail(why, GW_E_SYSTEM, "cannot open %.120s: %s", path, strerror(errno));
	error = gw_pages_walk(fd, &walk, &seen, &look.first);
	close(fd);
	if (look.told)
		gw_diag(GW_NOTICE, "store.check", "%llu pages looked at, %llu damaged", (unsigned long long)seen.pages, (unsigned long long)seen.damaged);
	if (look.named > 0 || error == GW_E_CORRUPT)
		return gw_fail(why, GW_E_CORRUPT, "the store in %.40s is damaged (%.60s): `vitalgate salvage` makes a new one of all that can be read", journal->dir, look.first.text);
	return error == GW_OK || error == GW_E_STOPPING ? GW_OK : gw_fail(why, error, "%s: %s", path, gw_error_text(error));
}

// Where the disk is full the store opens without: the file is only told to be there.
static enum gw_error
mark(struct gw_journal *journal, const char *path, off_t ends, struct gw_why *why)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600), dir;

	if (fd < 0)
		return errno == ENOSPC || errno == EDQUOT ? GW_OK : gw_fail(why, GW_E_SYSTEM, "cannot make %.120s: %s", path, strerror(errno));
	if (ends >= ENDS_MAX && ftruncate(fd, 0) != 0)
		ends = 0;
	(void)!write(fd, ".", 1);
	close(fd);
	if ((dir = open(journal->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0) {
		(void)fsync(dir); // a process that ends is seen without it; a power cut may take it along
		close(dir);
	}
	journal->marked = true;
	return GW_OK;
}

enum gw_error
gw_store_look(struct gw_journal *journal, struct gw_why *why)
{
	char data[4200], path[4200];
	struct stat at;
	off_t ends;
	enum gw_error error;

	snprintf(data, sizeof(data), "%s/data.mdb", journal->dir);
	snprintf(path, sizeof(path), "%s/" MARK, journal->dir);
	ends = stat(path, &at) == 0 ? at.st_size + (at.st_size == 0) : 0;
	if ((error = look_at(journal, data, ends, why)) != GW_OK)
		return error;
	return mark(journal, path, ends, why);
}

void
gw_store_unmark(struct gw_journal *journal)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s/" MARK, journal->dir);
	if (journal->marked)
		unlink(path);
}
