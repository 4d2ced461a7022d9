// SPDX-License-Identifier: Apache-2.0
// An erasure that a restored backup has undone: the patient is known there again, with all that was erased. Done before the parts run, so that nobody is told of him and
// nothing new is taken for his; main's thread, a command's where no daemon runs, or where that failed, the erasure's.
//
// The hub's own number says who he is: after a restore numbers go on where no store that was made from the same backup can have come (gw_patients_begin_anew()). A list
// may be of another hub all the same; so what is known of the number must agree with the row.
#include "gateway/erase.h"

#include "gateway/clock.h"

#include <inttypes.h>
#include <stdlib.h>

struct again {
	struct gw_erasure *erasure;
	uint64_t *numbers, *roots;
	size_t number_count, root_count;
	struct gw_erasure_window *row, *all; // all: what is in the row, and before it
	size_t row_count, count;
	int64_t known_us, until_us; // what the row says holds from and until then
	void *identifiers;
	size_t identifier_count;
};

static int
by_device_and_time(const void *one, const void *other)
{
	const struct gw_erasure_window *a = one, *b = other;
	int order = strcmp(a->device, b->device);

	return order != 0 ? order : a->from_us < b->from_us ? -1 : a->from_us > b->from_us;
}

// From where on the row knows a device.
static int64_t
known_from(const struct again *again, const char *device)
{
	int64_t us = again->known_us;

	for (size_t i = 0; i < again->row_count; i++)
		if (strcmp(again->row[i].device, device) == 0 && again->row[i].from_us < us)
			us = again->row[i].from_us;
	return us;
}

static bool
is_in_row(const struct again *again, const struct gw_erasure_window *window)
{
	for (size_t i = 0; i < again->row_count; i++)
		if (strcmp(again->row[i].device, window->device) == 0 && again->row[i].from_us < window->to_us && again->row[i].to_us > window->from_us)
			return true;
	return false;
}

// Of one patient: what the restored store knows from before the row's time. *agrees: whether any of it is in the row, where there is any to compare.
static enum gw_error
take_windows(struct again *again, bool *agrees)
{
	const struct gw_erasure *erasure = again->erasure;
	struct gw_erasure_window *more = realloc(again->all, (again->count + erasure->window_count + 1) * sizeof(*more));
	bool any = false, fits = false;

	if (more == NULL)
		return GW_E_MEMORY;
	again->all = more;
	for (size_t i = 0; i < erasure->window_count; i++) {
		struct gw_erasure_window window = erasure->windows[i];
		int64_t until_us = known_from(again, window.device);

		any |= window.to_us > until_us && window.from_us < again->until_us;
		fits |= is_in_row(again, &window);
		if (window.to_us > until_us)
			window.to_us = until_us;
		if (window.from_us < window.to_us)
			again->all[again->count++] = window;
	}
	*agrees = fits || !any;
	return GW_OK;
}

static enum gw_error
take_identifiers(struct again *again)
{
	struct gw_erasure *erasure = again->erasure;
	const size_t size = sizeof(*erasure->identifiers);
	uint8_t *more = realloc(again->identifiers, (again->identifier_count + erasure->identifier_count + 1) * size);

	if (more == NULL)
		return GW_E_MEMORY;
	if (erasure->identifier_count > 0)
		memcpy(more + again->identifier_count * size, erasure->identifiers, erasure->identifier_count * size);
	again->identifiers = more;
	again->identifier_count += erasure->identifier_count;
	return GW_OK;
}

static bool
is_number(const struct again *again, uint64_t number)
{
	for (size_t i = 0; i < again->number_count; i++)
		if (again->numbers[i] == number)
			return true;
	return false;
}

// One who is known here. What was merged later is not one yet; but nobody else may be one with him.
static enum gw_error
look_at(struct again *again, uint64_t root, struct gw_why *why)
{
	struct gw_erasure *erasure = again->erasure;
	enum gw_error error = gw_erasure_look(erasure, root, NULL, why);
	bool agrees = true;

	for (size_t i = 0; i < erasure->patient_count && error == GW_OK; i++)
		if (!is_number(again, erasure->patients[i]))
			return gw_fail(why, GW_E_ARGUMENT, "patient number %" PRIu64 " is one with number %" PRIu64 " here, of which the erasure does not tell", root, erasure->patients[i]);
	if (error == GW_OK)
		error = take_windows(again, &agrees);
	if (error == GW_OK)
		error = take_identifiers(again);
	if (error != GW_OK || agrees)
		return error;
	return gw_fail(why, GW_E_ARGUMENT, "patient number %" PRIu64 " had other devices here than the erasure tells: is the list of another hub?", root);
}

static enum gw_error
look_at_all(struct again *again, struct gw_why *why)
{
	struct gw_patients *patients = again->erasure->core->patients;
	enum gw_error error = GW_OK;

	for (size_t i = 0; i < again->number_count && error == GW_OK; i++) {
		uint64_t root = gw_patients_resolve(patients, again->numbers[i]);
		bool new = root != 0;

		for (size_t k = 0; k < again->root_count && new; k++)
			new = again->roots[k] != root;
		if (!new)
			continue;
		again->roots[again->root_count++] = root;
		error = look_at(again, root, why);
	}
	return error;
}

// The row's own once more, whatever was looked at.
static enum gw_error
put_together(struct again *again)
{
	struct gw_erasure *erasure = again->erasure;
	struct gw_erasure_window *more = realloc(again->all, (again->count + again->row_count + 1) * sizeof(*more));

	if (more == NULL)
		return GW_E_MEMORY;
	again->all = more;
	if (again->row_count > 0)
		memcpy(more + again->count, again->row, again->row_count * sizeof(*more));
	again->count += again->row_count;
	qsort(more, again->count, sizeof(*more), by_device_and_time);
	free(erasure->windows);
	erasure->windows = more;
	erasure->window_count = again->count;
	again->all = NULL;
	return GW_OK;
}

// What was in the row goes back to where it was; what is not needed any more goes.
static void
end(struct again *again)
{
	struct gw_erasure *erasure = again->erasure;

	free(erasure->patients);
	free(erasure->identifiers);
	erasure->patients = again->numbers;
	erasure->patient_count = again->number_count;
	erasure->patient = again->number_count > 0 ? again->numbers[0] : 0;
	erasure->identifiers = again->identifiers;
	erasure->identifier_count = again->identifier_count;
	erasure->whose.patients = NULL;
	erasure->whose.kept = false;
	free(again->row);
	free(again->all);
}

// One commit: each person, the record, the row.
static enum gw_error
put_forgotten(const struct again *again, struct gw_ticket *ticket)
{
	struct gw_erasure *erasure = again->erasure;
	struct gw_patients *patients = erasure->core->patients;
	enum gw_error error = GW_OK;

	gw_patients_lock(patients);
	for (size_t i = 0; i < again->root_count && (error == GW_OK || error == GW_E_NOT_FOUND); i++)
		error = gw_patients_forget_until(patients, again->roots[i], again->until_us, ticket);
	if (error == GW_OK || error == GW_E_NOT_FOUND)
		error = gw_erasure_put_notes(erasure, ticket);
	erasure->state = GW_ERASURE_FORGOTTEN;
	if (error == GW_OK)
		error = gw_erasure_put(erasure, ticket);
	if (error == GW_OK)
		error = gw_intake_commit(ticket);
	if (error != GW_OK) {
		erasure->state = GW_ERASURE_AGAIN;
		(void)gw_patients_reload(patients);
	}
	gw_patients_unlock(patients);
	return error;
}

static enum gw_error
forget(const struct again *again)
{
	struct gw_source source;
	struct gw_ticket *ticket;
	enum gw_error error = gw_source_init(&source, again->erasure->core->intake, 1);

	if (error != GW_OK)
		return error;
	ticket = gw_ticket_get(&source);
	error = ticket != NULL ? put_forgotten(again, ticket) : GW_E_MEMORY;
	if (ticket != NULL)
		gw_ticket_release(ticket);
	gw_source_fini(&source);
	return error;
}

// Rows alone, while identifiers are known; where a part runs it is asked once more, later.
static enum gw_error
take_out_what_names_him(struct gw_erasure *erasure, struct gw_why *why)
{
	enum gw_error error = GW_OK;

	for (size_t i = 0; i < erasure->core->part_count && error == GW_OK; i++)
		if (erasure->core->parts[i]->erase != NULL && erasure->parts == NULL)
			error = erasure->core->parts[i]->erase(erasure->core, NULL, erasure, why);
	return error == GW_OK ? gw_erasure_quarantine(erasure) : error;
}

static int64_t
last_of(const struct again *again)
{
	int64_t last_us = again->row_count > 0 ? INT64_MIN : again->erasure->begun_us;

	for (size_t i = 0; i < again->row_count; i++)
		last_us = again->row[i].to_us > last_us ? again->row[i].to_us : last_us;
	return last_us;
}

enum gw_error
gw_erasure_again(struct gw_erasure *erasure, struct gw_why *why)
{
	const struct gw_config *config = erasure->core->config;
	int64_t keep_h = config->patients_keep_h > config->store_retention_h ? config->patients_keep_h : config->store_retention_h;
	struct again again = { .erasure = erasure, .numbers = erasure->patients, .number_count = erasure->patient_count, .row = erasure->windows,
		.row_count = erasure->window_count, .known_us = erasure->begun_us - keep_h * INT64_C(3600000000) };
	enum gw_error error;

	erasure->patients = NULL;
	erasure->windows = NULL;
	erasure->patient_count = erasure->window_count = 0;
	again.until_us = last_of(&again);
	if ((again.roots = calloc(again.number_count + 1, sizeof(*again.roots))) == NULL)
		error = GW_E_MEMORY;
	else
		error = look_at_all(&again, why);
	if (error == GW_OK)
		error = put_together(&again);
	end(&again);
	if (error == GW_OK)
		error = take_out_what_names_him(erasure, why);
	if (error == GW_OK)
		error = forget(&again);
	if (error == GW_OK)
		erasure->forgotten_us = gw_clock_wall_us();
	free(again.roots);
	return error == GW_OK || why->text[0] != '\0' ? error : gw_fail(why, error, "%s", gw_error_text(error));
}

struct wanted {
	uint64_t after;
	struct gw_erasure erasure;
	bool found;
};

static bool
find(void *arg, struct gw_span key, struct gw_span value)
{
	struct wanted *wanted = arg;

	wanted->found = gw_erasure_read(key, value, &wanted->erasure) == GW_OK && wanted->erasure.state == GW_ERASURE_AGAIN && wanted->erasure.number > wanted->after;
	if (!wanted->found)
		gw_erasure_fini(&wanted->erasure);
	return !wanted->found;
}

void
gw_erase_again(struct gw_core *core)
{
	struct wanted wanted = { 0 };

	while (gw_journal_each(core->journal, gw_span_text(GW_ERASURE_PREFIX), gw_span(NULL, 0), find, &wanted) == GW_OK && wanted.found) {
		struct gw_erasure *erasure = &wanted.erasure;
		struct gw_why why = { "" };

		erasure->core = core;
		if (gw_erasure_again(erasure, &why) == GW_OK)
			gw_diag(GW_NOTICE, "erasure.again", "erasure=%016" PRIx64 ": restored with a backup, and forgotten again; the rest follows", erasure->number);
		else
			gw_diag(GW_WARNING, "erasure.again", "erasure=%016" PRIx64 " is undone by a restored backup, and cannot be done again: %s", erasure->number, why.text);
		wanted.after = erasure->number;
		wanted.found = false;
		gw_erasure_fini(erasure);
	}
}
