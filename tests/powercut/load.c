// SPDX-License-Identifier: Apache-2.0
// The load of the power-cut test: several sources submit readings to intake while the recorder writes down what reaches the disk and
// what has been acknowledged. Each ticket n of source s holds reading n of device "source-s" and the row "load/s" = n, so that
// a state can be checked for itself (verify.c).
// Usage: powercut_load DIR LOG TICKETS [nosync|nometasync]  (the last breaks the promise on purpose: the test must see it)
#include "gateway/clock.h"
#include "gateway/intake.h"
#include "gateway/journal.h"
#include "load.h"
#include "recorder.h"

#include <lmdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define LIVES 3

static struct gw_intake *intake;
static struct gw_journal *journal;
static uint64_t tickets_each;
static unsigned unsafe_flags;

// The linker puts this before LMDB's own for the calls of the gateway (--wrap).
int __real_mdb_env_open(MDB_env *env, const char *path, unsigned flags, mdb_mode_t mode);
int __wrap_mdb_env_open(MDB_env *env, const char *path, unsigned flags, mdb_mode_t mode);
int
__wrap_mdb_env_open(MDB_env *env, const char *path, unsigned flags, mdb_mode_t mode)
{
	return __real_mdb_env_open(env, path, flags | unsafe_flags, mode);
}

static void
check(enum gw_error error, const char *what)
{
	if (error == GW_OK)
		return;
	fprintf(stderr, "powercut_load: %s: %s\n", what, gw_error_text(error));
	exit(1);
}

struct thread {
	pthread_t id;
	uint64_t number, sent, back;
	struct gw_source source;
};

static void
submit(struct thread *thread)
{
	struct gw_ticket *ticket = gw_ticket_get(&thread->source);

	load_fill(ticket, thread->number, thread->sent);
	if (thread->number == 0 && thread->sent % 64 == 63) { // an outlet that is a little behind, so that trimming goes on
		uint64_t last = gw_journal_last(journal), cursor = last > 300 ? last - 300 : 0;
		check(gw_ticket_put(ticket, gw_span_text("outlet/bus/cursor"), gw_span(&cursor, sizeof(cursor))), "cursor");
	}
	recorder_mark(ENTRY_SUBMITTED, thread->number, thread->sent++);
	gw_intake_submit(ticket);
}

static void
take(struct thread *thread)
{
	struct gw_ticket *ticket = gw_source_take(&thread->source), *next;
	struct pollfd wait = { .fd = thread->source.event_fd, .events = POLLIN };

	if (ticket == NULL)
		poll(&wait, 1, -1);
	for (; ticket != NULL; ticket = next) {
		next = ticket->next;
		check(ticket->result, "commit");
		recorder_mark(ENTRY_ACKNOWLEDGED, thread->number, thread->back++);
		gw_ticket_release(ticket);
	}
}

static void *
run(void *arg)
{
	struct thread *thread = arg;
	uint64_t window = 1 + thread->number * 7;

	while (thread->back < tickets_each) {
		while (thread->sent < tickets_each && thread->sent - thread->back < window)
			submit(thread);
		take(thread);
	}
	return NULL;
}

// One life of the store: open, trim what the life before allows, load, close.
static int
live(const char *dir, struct thread *threads)
{
	struct gw_journal_options options = load_options(dir);
	struct gw_intake_options intake_options = { .group_tickets_max = 40 };
	struct gw_why why = { "" };

	if (gw_journal_open(&options, &journal, &why) != GW_OK) {
		fprintf(stderr, "powercut_load: %s\n", why.text);
		return 1;
	}
	for (bool more = true; more;)
		check(gw_journal_trim(journal, INT64_MAX / 2, &more), "trim");
	intake_options.journal = journal;
	check(gw_intake_open(&intake_options, &intake, &why), "intake");
	for (uint64_t i = 0; i < LOAD_SOURCES; i++) {
		check(gw_source_init(&threads[i].source, intake, 64), "source");
		pthread_create(&threads[i].id, NULL, run, &threads[i]);
	}
	for (size_t i = 0; i < LOAD_SOURCES; i++)
		pthread_join(threads[i].id, NULL);
	gw_intake_close(intake);
	for (size_t i = 0; i < LOAD_SOURCES; i++)
		gw_source_fini(&threads[i].source);
	gw_journal_close(journal);
	return 0;
}

int
main(int argc, char **argv)
{
	static struct thread threads[LOAD_SOURCES];
	uint64_t tickets;

	if (argc < 4) {
		fprintf(stderr, "usage: powercut_load DIR LOG TICKETS [nosync|nometasync]\n");
		return 2;
	}
	tickets = strtoull(argv[3], NULL, 10) / LOAD_SOURCES;
	if (argc > 4)
		unsafe_flags = argv[4][2] == 's' ? MDB_NOSYNC : MDB_NOMETASYNC;
	recorder_start(argv[1], argv[2]);
	for (uint64_t i = 0; i < LOAD_SOURCES; i++)
		threads[i].number = i;
	for (uint64_t round = 1; round <= LIVES; round++) {
		tickets_each = tickets * round / LIVES;
		if (live(argv[1], threads) != 0)
			return 1;
	}
	return 0;
}
