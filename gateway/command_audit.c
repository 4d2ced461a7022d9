// SPDX-License-Identifier: Apache-2.0
// Who looked at what, and who changed what: `audit` lists the journal's records of commands, and those that outlived it as rows. And what every command has in common that shows patients' data and does not
// record itself: before it shows anything, that it does is durable. The same by the same user within a minute is one record. Threads: as command.h says.
#include "gateway/command_handlers.h"

#include "gateway/clock.h"
#include "gateway/command_audit.h"
#include "gateway/command_patient.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOLD_US INT64_C(60000000)
#define FOLD_SETS 1024 // of FOLD_WAYS: a script that asks of each bed of a hospital in turn fits
#define FOLD_WAYS 4
#define SHOWN_US (7 * INT64_C(86400000000))

// ---- Recording ----

// The arguments that tell what is looked at; never a name or an identifier of a patient.
static const struct {
	const char *command, *first, *second;
} readers[] = {
	{ "readings", "device", NULL }, { "trace", "device", NULL }, { "quarantine list", NULL, NULL }, { "quarantine show", "id", NULL },
	{ "hl7 list", "destination", NULL }, { "hl7 held", "destination", NULL }, { "hl7 misfiled", "destination", NULL }, { "hl7 show", "destination", "number" },
};

struct recorded {
	uint64_t hash;
	int64_t us; // monotonic
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct recorded recorded[FOLD_SETS][FOLD_WAYS];

// Whether the same was recorded a moment ago.
static bool
is_recorded(uint64_t hash, int64_t now_us)
{
	const struct recorded *set = recorded[hash % FOLD_SETS];
	bool found = false;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < FOLD_WAYS; i++)
		found |= set[i].hash == hash && set[i].us != 0 && now_us - set[i].us < FOLD_US;
	pthread_mutex_unlock(&lock);
	return found;
}

// In the place of the same, or of the oldest.
static void
remember(uint64_t hash, int64_t now_us)
{
	struct recorded *set = recorded[hash % FOLD_SETS], *place = set;

	pthread_mutex_lock(&lock);
	for (size_t i = 1; i < FOLD_WAYS && place->hash != hash; i++)
		if (set[i].hash == hash || set[i].us < place->us)
			place = &set[i];
	*place = (struct recorded){ hash, now_us };
	pthread_mutex_unlock(&lock);
}

void
gw_recording_begin(struct gw_recording *recording, struct gw_call *call, struct gw_span device, const char *what)
{
	*recording = (struct gw_recording){ .call = call };
	if ((recording->error = gw_source_init(&recording->source, call->core->intake, 1)) != GW_OK)
		return;
	recording->open = true;
	if ((recording->ticket = gw_ticket_get(&recording->source)) == NULL) {
		recording->error = GW_E_MEMORY;
	} else if ((recording->error = gw_call_record(call, recording->ticket, device, "%s", what)) == GW_OK) {
		recording->ticket->essential = true;
		gw_intake_submit(recording->ticket);
	}
}

void
gw_recording_begin_reading(struct gw_recording *recording, struct gw_call *call, struct gw_span device, const char *what)
{
	char key[1024];
	uint64_t hash;
	size_t len;

	len = (size_t)snprintf(key, sizeof(key), "%s\n%s\n%.*s\n%" PRIx64, call->who, what, (int)device.len, (const char *)device.at,
	    gw_journal_incarnation(call->core->journal));
	hash = gw_name_hash(gw_span(key, len < sizeof(key) ? len : sizeof(key) - 1));
	if (is_recorded(hash, gw_clock_mono_us())) {
		*recording = (struct gw_recording){ .call = call };
		return;
	}
	gw_recording_begin(recording, call, device, what);
	recording->hash = hash;
}

enum gw_error
gw_recording_end(struct gw_recording *recording)
{
	enum gw_error error = recording->error;

	if (recording->ticket != NULL && error == GW_OK)
		error = gw_intake_await(recording->ticket);
	if (error == GW_OK && recording->ticket != NULL && recording->hash != 0)
		remember(recording->hash, gw_clock_mono_us());
	if (recording->ticket != NULL)
		gw_ticket_release(recording->ticket);
	if (recording->open)
		gw_source_fini(&recording->source);
	recording->ticket = NULL;
	recording->open = false;
	return error == GW_OK ? GW_OK : gw_fail(recording->call->why, error, "that somebody asks for it could not be recorded: %s", gw_error_text(error));
}

enum gw_error
gw_call_record_reading(struct gw_call *call, struct gw_span device, const char *what)
{
	struct gw_recording recording;

	gw_recording_begin_reading(&recording, call, device, what);
	return gw_recording_end(&recording);
}

static enum gw_error
record(struct gw_call *call, const char *command, const char *first, const char *second)
{
	const char *device = gw_call_text(call, "device");
	char what[160];

	snprintf(what, sizeof(what), "%s%s%.64s%s%.24s", command, first != NULL ? ": " : "", first != NULL ? first : "", second != NULL ? " " : "",
	    second != NULL ? second : "");
	return gw_call_record_reading(call, device != NULL && strlen(device) <= GW_ID_MAX ? gw_span_text(device) : gw_span("", 0), what);
}

enum gw_error
gw_audit_reading(struct gw_call *call, const char *command)
{
	for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++)
		if (strcmp(readers[i].command, command) == 0)
			return record(call, command, readers[i].first != NULL ? gw_call_text(call, readers[i].first) : NULL,
			    readers[i].second != NULL ? gw_call_text(call, readers[i].second) : NULL);
	return GW_OK;
}

// ---- Listing ----

struct listing {
	struct gw_call *call;
	uint64_t *patients; // whose; count 0: everything
	size_t patient_count;
	const char *device;
	int64_t left, since_us;
	uint64_t from; // position
	bool wanted;
};

// "... patient number 12, ..." or "... number 12"
static bool
concerns(const struct listing *listing, struct gw_span text)
{
	char words[40];

	for (size_t i = 0; i < listing->patient_count; i++) {
		size_t len = (size_t)snprintf(words, sizeof(words), "number %" PRIu64, listing->patients[i]);
		const uint8_t *at = text.len > 0 ? memmem(text.at, text.len, words, len) : NULL, *end = text.at + text.len;

		if (at != NULL && (at + len == end || at[len] < '0' || at[len] > '9'))
			return true;
	}
	return listing->patient_count == 0;
}

static bool
show(struct listing *listing, const struct gw_record *record)
{
	struct gw_event event;
	yyjson_mut_val *object;
	yyjson_mut_doc *doc;

	if (record->type != GW_RECORD_COMMAND || record->received_us < listing->since_us || gw_event_open(record, &event, NULL) != GW_OK ||
	    !concerns(listing, event.text) || (listing->device != NULL && !gw_span_is(event.device, listing->device)))
		return true;
	if ((doc = gw_call_object(&object)) == NULL)
		return false;
	gw_json_time(doc, object, "at", event.received_us);
	gw_json_span(doc, object, "who", event.principal);
	gw_json_span(doc, object, "what", event.text);
	if (event.device.len > 0)
		gw_json_span(doc, object, "device", event.device);
	return gw_call_emit(listing->call, doc) && --listing->left > 0;
}

// gw_row_fn
static bool
show_row(void *arg, struct gw_span key, struct gw_span value)
{
	struct listing *listing = arg;
	struct gw_record record;
	char digits[17] = "";
	uint64_t position;

	if (key.len != sizeof(GW_AUDIT_PREFIX) + 15)
		return true;
	memcpy(digits, key.at + key.len - 16, 16);
	position = strtoull(digits, NULL, 16);
	if (position < listing->from)
		return true;
	listing->from = position + 1;
	if (gw_record_open(position, value, &record, NULL) == GW_OK)
		listing->wanted = show(listing, &record);
	return listing->wanted && !gw_call_ending(listing->call);
}

// What was trimmed by now: rows from listing->from on.
static enum gw_error
list_rows(struct listing *listing)
{
	char after[32];

	snprintf(after, sizeof(after), GW_AUDIT_PREFIX "%016" PRIx64, listing->from > 0 ? listing->from - 1 : 0);
	return gw_journal_each(listing->call->core->journal, gw_span_text(GW_AUDIT_PREFIX), gw_span_text(after), show_row, listing);
}

// Nothing is held meanwhile: what is trimmed while it is listed is found as rows.
static enum gw_error
list(struct listing *listing)
{
	struct gw_journal *journal = listing->call->core->journal;
	size_t cap = GW_RECORD_MAX + 16, used = 1;
	uint8_t *buf = malloc(cap);
	struct gw_record record;
	enum gw_error error = buf != NULL ? GW_OK : GW_E_MEMORY;

	while (error == GW_OK && used > 0 && listing->wanted && !gw_call_ending(listing->call)) {
		uint64_t first = gw_journal_first(journal), next;

		if (listing->from < first) {
			error = list_rows(listing);
			if (error == GW_OK && listing->from < first)
				listing->from = first;
			continue;
		}
		if ((error = gw_journal_read(journal, listing->from, buf, cap, &used, &next)) != GW_OK)
			break;
		if (gw_journal_first(journal) > listing->from)
			continue;
		for (struct gw_span rest = gw_span(buf, used); listing->wanted && gw_journal_step(&rest, &record);)
			listing->wanted = show(listing, &record);
		listing->from = next;
	}
	free(buf);
	return error;
}

static enum gw_error
take_patient(struct listing *listing)
{
	const char *text = gw_call_text(listing->call, "patient");
	struct gw_identifier identifier;
	uint64_t number;
	enum gw_error error;

	if (text == NULL)
		return GW_OK;
	if (text[0] != '\0' && strspn(text, "0123456789") == strlen(text) && gw_call_flag(listing->call, "number")) { // the hub's own: of somebody who was erased
		if ((listing->patients = malloc(sizeof(*listing->patients))) == NULL)
			return GW_E_MEMORY;
		listing->patients[listing->patient_count++] = strtoull(text, NULL, 10);
		return GW_OK;
	}
	gw_identifier_parse(text, &identifier);
	if ((error = gw_patients_find(listing->call->core->patients, &identifier, &number, listing->call->why)) != GW_OK)
		return error;
	return gw_patients_numbers(listing->call->core->patients, number, &listing->patients, &listing->patient_count);
}

enum gw_error
gw_command_audit(struct gw_call *call)
{
	struct listing listing = { .call = call, .device = gw_call_text(call, "device"), .wanted = true };
	enum gw_error error = gw_call_time(call, "since", gw_clock_wall_us() - SHOWN_US, &listing.since_us);

	if (error == GW_OK)
		error = gw_call_number(call, "limit", 1, INT64_MAX, INT64_MAX, &listing.left);
	if (error == GW_OK)
		error = take_patient(&listing);
	if (error == GW_OK)
		error = gw_call_record_reading(call, gw_span("", 0), "audit");
	if (error == GW_OK && (error = gw_journal_seek(call->core->journal, listing.since_us, &listing.from)) == GW_OK) {
		if (listing.from <= gw_journal_first(call->core->journal))
			listing.from = 0; // there may be earlier ones, which are trimmed
		error = list(&listing);
	}
	free(listing.patients);
	return error == GW_OK || call->why->text[0] != '\0' ? error : gw_fail(call->why, error, "%s", gw_error_text(error));
}
