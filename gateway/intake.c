// SPDX-License-Identifier: Apache-2.0
// Intake: the queue, and the one thread that writes the journal. Sources push onto a stack without locks; the writer takes all of it,
// turns it round, commits a group, and gives each source its tickets back in one piece. It reads from top to bottom as: take,
// apply, commit, return.
#include "gateway/intake.h"
#include "gateway/clock.h"
#include "gateway/journal.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GROUP_BYTES_DEFAULT (8u << 20)
#define GROUP_TICKETS_DEFAULT 16384
#define IDLE_US 1000000         // looks at room and trimming at least this often
#define IDLE_FULL_US 200000
#define TRIM_EVERY_US 1000000
#define TRIM_MORE_US 50000      // between two pieces, when there is more and no pressure
#define GATHER_LEAST 8          // tickets in the last group: many are under way, so more are coming
#define GATHER_STEP_US 100
#define GATHER_US_MAX 1000
#define GATHER_LAST_US_MAX 320000 // a disk that stalled once says nothing about the next commit

struct gw_intake {
	struct gw_intake_options options;
	pthread_t thread;
	_Atomic(struct gw_ticket *) queue; // newest first; &closed_mark at the end
	_Atomic uint32_t sleeping;         // futex: 1 while the writer sleeps
	_Atomic bool stopping, closing, full;
	_Atomic uint32_t follow, followers; // futex: counts up with every commit and every call to look
	_Atomic uint32_t calls;            // of gw_intake_wake()
	_Atomic uint64_t submitted, committed, refused, groups, back;

	// The writer's
	struct gw_ticket *first, **end;    // taken and not yet committed, oldest first
	uint64_t last_count;               // tickets in the last group
	int64_t last_us;                   // what it took to commit it
	bool dead;
	int64_t trim_due_us;
};

static struct gw_ticket closed_mark;

// ---- Sleeping ----

static void
futex_wait(_Atomic uint32_t *word, uint32_t value, int64_t timeout_us)
{
	struct timespec timeout = { timeout_us / 1000000, timeout_us % 1000000 * 1000 };
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout_us >= 0 ? &timeout : NULL, NULL, 0);
}

static void
futex_wake(_Atomic uint32_t *word, int count)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static void
wake_writer(struct gw_intake *intake)
{
	if (atomic_load(&intake->sleeping) != 0 && atomic_exchange(&intake->sleeping, 0) != 0)
		futex_wake(&intake->sleeping, 1);
}

static void
sleep_writer(struct gw_intake *intake, int64_t timeout_us)
{
	atomic_store(&intake->sleeping, 1);
	if (atomic_load(&intake->queue) == NULL && !atomic_load(&intake->closing))
		futex_wait(&intake->sleeping, 1, timeout_us);
	atomic_store(&intake->sleeping, 0);
}

// ---- Giving tickets back ----

// Newest first from first to last; tells the source once, until it takes them.
static void
give_back(struct gw_source *source, struct gw_ticket *first, struct gw_ticket *last)
{
	struct gw_ticket *old = atomic_load_explicit(&source->done, memory_order_relaxed);
	uint64_t one = 1;

	atomic_fetch_add(&source->notifying, 1);
	do
		last->next = old;
	while (!atomic_compare_exchange_weak(&source->done, &old, first));
	if (old == NULL)
		while (write(source->event_fd, &one, sizeof(one)) < 0 && errno == EINTR)
			;
	atomic_fetch_sub(&source->notifying, 1);
}

static void
return_group(struct gw_intake *intake, struct gw_ticket *group)
{
	struct gw_source *sources = NULL;
	uint64_t count = 0, good = 0;

	while (group != NULL) {
		struct gw_ticket *ticket = group;
		struct gw_source *source = ticket->source;
		group = ticket->next;
		count++;
		good += ticket->result == GW_OK;
		if (source->back == NULL) {
			source->back_last = ticket;
			source->back_next = sources;
			sources = source;
		}
		ticket->next = source->back;
		source->back = ticket;
	}
	atomic_fetch_add_explicit(&intake->committed, good, memory_order_relaxed);
	atomic_fetch_add_explicit(&intake->refused, count - good, memory_order_relaxed);
	atomic_fetch_add_explicit(&intake->back, count, memory_order_relaxed);
	intake->last_count = count;
	while (sources != NULL) { // once it is given back the source may be gone
		struct gw_source *source = sources;
		struct gw_ticket *first = source->back, *last = source->back_last;
		sources = source->back_next;
		source->back = source->back_last = NULL;
		source->back_next = NULL;
		give_back(source, first, last);
	}
}

static void
wake_followers(struct gw_intake *intake)
{
	atomic_fetch_add(&intake->follow, 1);
	if (atomic_load(&intake->followers) != 0)
		futex_wake(&intake->follow, INT_MAX);
}

// ---- The writer ----

// Moves what was submitted behind what is there already, oldest first.
static void
take(struct gw_intake *intake)
{
	struct gw_ticket *newest = atomic_exchange(&intake->queue, NULL), *oldest = NULL, *last = newest;

	if (newest == NULL)
		return;
	while (newest != NULL) {
		struct gw_ticket *next = newest->next;
		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	*intake->end = oldest;
	intake->end = &last->next;
}

// Cuts off what one commit takes.
static struct gw_ticket *
cut_group(struct gw_intake *intake)
{
	struct gw_ticket *group = intake->first, *last = group;
	uint64_t bytes = group->ops_len;

	for (uint32_t count = 1; last->next != NULL && count < intake->options.group_tickets_max; count++) {
		bytes += last->next->ops_len;
		if (bytes > intake->options.group_bytes_max)
			break;
		last = last->next;
	}
	intake->first = last->next;
	if (intake->first == NULL)
		intake->end = &intake->first;
	last->next = NULL;
	return group;
}

static bool
is_new_data(const struct gw_ticket *ticket)
{
	return !ticket->essential && ticket->ops_len > 0;
}

static void
refuse(struct gw_ticket *ticket, enum gw_error error)
{
	ticket->result = error;
	ticket->stored = ticket->duplicates = ticket->revisions = 0;
}

static void
refuse_all(struct gw_ticket *group, enum gw_error error)
{
	for (; group != NULL; group = group->next)
		refuse(group, error);
}

// One transaction with those tickets of the group that nothing speaks against.
static enum gw_error
attempt(struct gw_journal *journal, struct gw_ticket *group)
{
	enum gw_error error = GW_OK;
	bool begun = false;

	for (struct gw_ticket *ticket = group; error == GW_OK && ticket != NULL; ticket = ticket->next) {
		if (ticket->result != GW_OK || ticket->ops_len == 0)
			continue;
		if (!begun && (error = gw_journal_begin(journal)) != GW_OK)
			return error;
		begun = true;
		error = gw_journal_apply(journal, ticket);
	}
	if (!begun)
		return error;
	if (error == GW_OK)
		return gw_journal_commit(journal);
	gw_journal_abort(journal);
	return error;
}

// The store had no room for the group: only what is essential is tried again.
static enum gw_error
attempt_essential(struct gw_journal *journal, struct gw_ticket *group)
{
	for (struct gw_ticket *ticket = group; ticket != NULL; ticket = ticket->next) {
		if (ticket->result == GW_E_STOPPING)
			continue;
		refuse(ticket, is_new_data(ticket) ? GW_E_FULL : GW_OK);
	}
	return attempt(journal, group);
}

static enum gw_error
commit_group(struct gw_intake *intake, struct gw_ticket *group)
{
	struct gw_journal *journal = intake->options.journal;
	enum gw_error room = gw_journal_room(journal), error;

	atomic_store_explicit(&intake->full, room != GW_OK, memory_order_relaxed);
	for (struct gw_ticket *ticket = group; room != GW_OK && ticket != NULL; ticket = ticket->next)
		if (ticket->result == GW_OK && is_new_data(ticket))
			refuse(ticket, room);
	error = attempt(journal, group);
	if (error == GW_E_FULL)
		error = attempt_essential(journal, group);
	if (error == GW_E_FULL) {
		for (struct gw_ticket *ticket = group; ticket != NULL; ticket = ticket->next)
			if (ticket->result == GW_OK && ticket->ops_len > 0)
				refuse(ticket, GW_E_FULL);
		error = GW_OK;
	}
	return error;
}

// After this nothing is written any more: what the disk holds is only known when the store is opened again.
static void
die(struct gw_intake *intake, struct gw_ticket *group, enum gw_error error)
{
	intake->dead = true;
	refuse_all(group, GW_E_SYNC);
	return_group(intake, group);
	take(intake);
	group = intake->first;
	intake->first = NULL;
	intake->end = &intake->first;
	refuse_all(group, GW_E_SYNC);
	return_group(intake, group);
	gw_intake_wake(intake);
	if (intake->options.failed != NULL)
		intake->options.failed(intake->options.arg, error);
}

static void
write_group(struct gw_intake *intake)
{
	struct gw_journal *journal = intake->options.journal;
	struct gw_ticket *group = cut_group(intake);
	uint64_t before = gw_journal_last(journal);
	int64_t start_us = gw_clock_mono_us();
	enum gw_error error;

	if (intake->dead) {
		refuse_all(group, GW_E_SYNC);
		return_group(intake, group);
		return;
	}
	if ((error = commit_group(intake, group)) != GW_OK) {
		die(intake, group, error);
		return;
	}
	intake->last_us = gw_clock_mono_us() - start_us;
	atomic_fetch_add_explicit(&intake->groups, 1, memory_order_relaxed);
	return_group(intake, group);
	if (gw_journal_last(journal) != before)
		wake_followers(intake);
}

static void
trim_if_due(struct gw_intake *intake)
{
	int64_t now = gw_clock_mono_us();
	bool more = false;
	enum gw_error error;

	if (intake->dead || now < intake->trim_due_us)
		return;
	error = gw_journal_trim(intake->options.journal, gw_clock_wall_us(), &more);
	if (error != GW_OK && error != GW_E_FULL) {
		die(intake, NULL, error);
		return;
	}
	if (error == GW_E_FULL)
		intake->trim_due_us = now + IDLE_FULL_US;
	else if (!more)
		intake->trim_due_us = now + TRIM_EVERY_US;
	else if (!atomic_load_explicit(&intake->full, memory_order_relaxed))
		intake->trim_due_us = gw_clock_mono_us() + TRIM_MORE_US;
}

// Nothing is waiting: looks after the store, then sleeps. False when it is time to end.
static bool
idle(struct gw_intake *intake)
{
	struct gw_ticket *none = NULL;
	int64_t sleep_us = IDLE_US, due;
	bool full;

	if (atomic_load(&intake->closing))
		return !atomic_compare_exchange_strong(&intake->queue, &none, &closed_mark);
	if (!intake->dead) {
		full = gw_journal_room(intake->options.journal) != GW_OK;
		atomic_store_explicit(&intake->full, full, memory_order_relaxed);
		due = intake->trim_due_us - gw_clock_mono_us();
		sleep_us = full ? IDLE_FULL_US : IDLE_US;
		if (due < sleep_us)
			sleep_us = due > 0 ? due : 0;
	}
	if (sleep_us > 0)
		sleep_writer(intake, sleep_us);
	return true;
}

static int64_t
longer(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

// A commit costs about the same for one ticket and for a hundred, and while one was under way some of those who were answered before have sent
// again. Where many are under way the next one waits until no more come, a millisecond or a sixteenth of the last commit at most: else the
// senders fall into two halves that take turns, and each half pays a commit.
static void
gather(struct gw_intake *intake)
{
	int64_t last_us = intake->last_us < GATHER_LAST_US_MAX ? intake->last_us : GATHER_LAST_US_MAX;
	int64_t step_us = longer(GATHER_STEP_US, last_us / 64);
	int64_t end_us = gw_clock_mono_us() + longer(GATHER_US_MAX, last_us / 16);
	uint64_t before, now = atomic_load_explicit(&intake->submitted, memory_order_relaxed);

	do {
		before = now;
		usleep((useconds_t)step_us);
		now = atomic_load_explicit(&intake->submitted, memory_order_relaxed);
	} while (now != before && gw_clock_mono_us() < end_us);
	take(intake);
}

static void *
run(void *arg)
{
	struct gw_intake *intake = arg;

	pthread_setname_np(pthread_self(), "vg-journal");
	prctl(PR_SET_TIMERSLACK, 10000, 0, 0, 0); // ns: gathering sleeps for short times
	for (;;) {
		take(intake);
		if (intake->first != NULL && intake->last_count >= GATHER_LEAST)
			gather(intake);
		if (intake->first != NULL)
			write_group(intake);
		else if (!idle(intake))
			break;
		trim_if_due(intake);
	}
	return NULL;
}

// ---- Starting and ending ----

enum gw_error
gw_intake_open(const struct gw_intake_options *options, struct gw_intake **out, struct gw_why *why)
{
	struct gw_intake *intake = calloc(1, sizeof(*intake));
	sigset_t all, old;
	int rc;

	*out = NULL;
	if (intake == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	intake->options = *options;
	if (intake->options.group_bytes_max == 0)
		intake->options.group_bytes_max = GROUP_BYTES_DEFAULT;
	if (intake->options.group_tickets_max == 0)
		intake->options.group_tickets_max = GROUP_TICKETS_DEFAULT;
	intake->end = &intake->first;
	intake->trim_due_us = gw_clock_mono_us() + TRIM_EVERY_US;
	sigfillset(&all); // signals are for the main thread
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&intake->thread, NULL, run, intake);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0) {
		free(intake);
		return gw_fail(why, GW_E_SYSTEM, "cannot start the journal's thread: %s", strerror(rc));
	}
	*out = intake;
	return GW_OK;
}

void
gw_intake_stop(struct gw_intake *intake)
{
	atomic_store(&intake->stopping, true);
	wake_followers(intake);
}

void
gw_intake_close(struct gw_intake *intake)
{
	if (intake == NULL)
		return;
	gw_intake_stop(intake);
	atomic_store(&intake->closing, true);
	wake_writer(intake);
	pthread_join(intake->thread, NULL);
	free(intake);
}

// ---- Sources ----

enum gw_error
gw_source_init(struct gw_source *source, struct gw_intake *intake, uint32_t tickets_max)
{
	*source = (struct gw_source){ .intake = intake, .tickets_max = tickets_max };
	source->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return source->event_fd >= 0 ? GW_OK : GW_E_SYSTEM;
}

static void
free_ops(struct gw_ticket *ticket)
{
	if (ticket->ops != ticket->inline_ops)
		free(ticket->ops);
	ticket->ops = ticket->inline_ops;
	ticket->ops_cap = sizeof(ticket->inline_ops);
}

void
gw_source_fini(struct gw_source *source)
{
	while (atomic_load(&source->notifying) != 0) // the writer is about to have told us
		;
	while (source->free != NULL) {
		struct gw_ticket *ticket = source->free;
		source->free = ticket->next;
		free_ops(ticket);
		free(ticket);
	}
	if (source->event_fd >= 0)
		close(source->event_fd);
	source->event_fd = -1;
}

struct gw_ticket *
gw_ticket_get(struct gw_source *source)
{
	struct gw_ticket *ticket = source->free;

	if (ticket != NULL) {
		source->free = ticket->next;
	} else {
		if (source->tickets >= source->tickets_max || (ticket = malloc(sizeof(*ticket))) == NULL)
			return NULL;
		source->tickets++;
		ticket->ops = ticket->inline_ops;
		ticket->ops_cap = sizeof(ticket->inline_ops);
	}
	ticket->next = NULL;
	ticket->source = source;
	ticket->owner = NULL;
	ticket->tag[0] = ticket->tag[1] = 0;
	ticket->verdict = ticket->result = GW_OK;
	ticket->why.text[0] = '\0';
	ticket->quarantined = ticket->essential = ticket->again = false;
	ticket->stored = ticket->duplicates = ticket->revisions = 0;
	ticket->ops_len = 0;
	return ticket;
}

void
gw_ticket_release(struct gw_ticket *ticket)
{
	if (ticket->ops_cap > 16384) // memory of a large frame is not kept
		free_ops(ticket);
	ticket->next = ticket->source->free;
	ticket->source->free = ticket;
}

// Turns the list round, newest first as the queue is, and settles what each comes with. Returns how many there are.
static uint64_t
turn_round(struct gw_intake *intake, struct gw_ticket *first, struct gw_ticket **newest)
{
	bool stopping = atomic_load(&intake->stopping);
	uint64_t count = 0;

	*newest = NULL;
	while (first != NULL) {
		struct gw_ticket *next = first->next;
		// Through the queue all the same, so that tickets come back in order.
		first->result = stopping && !first->essential ? GW_E_STOPPING : GW_OK;
		first->next = *newest;
		*newest = first;
		first = next;
		count++;
	}
	return count;
}

void
gw_intake_submit_all(struct gw_ticket *first)
{
	struct gw_intake *intake = first->source->intake;
	struct gw_ticket *old = atomic_load_explicit(&intake->queue, memory_order_relaxed), *oldest = first, *newest;

	atomic_fetch_add_explicit(&intake->submitted, turn_round(intake, first, &newest), memory_order_relaxed);
	do {
		if (old == &closed_mark) {
			oldest->next = NULL;
			refuse_all(newest, GW_E_STOPPING);
			give_back(oldest->source, newest, oldest);
			return;
		}
		oldest->next = old;
	} while (!atomic_compare_exchange_weak(&intake->queue, &old, newest));
	wake_writer(intake);
}

void
gw_intake_submit(struct gw_ticket *ticket)
{
	ticket->next = NULL;
	gw_intake_submit_all(ticket);
}

struct gw_ticket *
gw_source_take(struct gw_source *source)
{
	struct gw_ticket *newest, *oldest = NULL;
	uint64_t count;

	// First the event, then the tickets: the other way round one could be missed.
	while (read(source->event_fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	newest = atomic_exchange(&source->done, NULL);
	while (newest != NULL) {
		struct gw_ticket *next = newest->next;
		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	return oldest;
}

enum gw_error
gw_intake_commit(struct gw_ticket *ticket)
{
	gw_intake_submit(ticket);
	return gw_intake_await(ticket);
}

enum gw_error
gw_intake_await(struct gw_ticket *ticket)
{
	struct gw_source *source = ticket->source;
	struct pollfd wait = { .fd = source->event_fd, .events = POLLIN };

	while (gw_source_take(source) == NULL)
		poll(&wait, 1, -1);
	return ticket->result;
}

// ---- Followers ----

uint64_t
gw_intake_wait(struct gw_intake *intake, uint64_t position, int timeout_ms)
{
	int64_t end = timeout_ms >= 0 ? gw_clock_mono_us() + (int64_t)timeout_ms * 1000 : 0, left = -1;
	uint32_t calls = atomic_load(&intake->calls), seen;
	uint64_t last;

	atomic_fetch_add(&intake->followers, 1);
	for (;;) {
		seen = atomic_load(&intake->follow); // before what it stands for is looked at
		last = gw_journal_last(intake->options.journal);
		if (last > position || atomic_load(&intake->stopping) || atomic_load(&intake->calls) != calls)
			break;
		if (timeout_ms >= 0 && (left = end - gw_clock_mono_us()) <= 0)
			break;
		futex_wait(&intake->follow, seen, left);
	}
	atomic_fetch_sub(&intake->followers, 1);
	return last;
}

void
gw_intake_wake(struct gw_intake *intake)
{
	atomic_fetch_add(&intake->calls, 1);
	wake_followers(intake);
}

void
gw_intake_stats(struct gw_intake *intake, struct gw_intake_stats *stats)
{
	uint64_t back = atomic_load(&intake->back);

	*stats = (struct gw_intake_stats){
		.submitted = atomic_load(&intake->submitted),
		.committed = atomic_load(&intake->committed),
		.refused = atomic_load(&intake->refused),
		.groups = atomic_load(&intake->groups),
		.full = atomic_load(&intake->full),
		.stopping = atomic_load(&intake->stopping),
	};
	stats->waiting = stats->submitted > back ? stats->submitted - back : 0;
}
