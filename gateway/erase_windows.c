// SPDX-License-Identifier: Apache-2.0
// What is the patient's: when which device was his, and whether a reading was taken then. The thread of the erasure, and where a part asks, that part's.
#include "gateway/erase.h"

#include "gateway/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define STEPS_MAX 1000000 // answers of one device
#define ALONE_LEAST 6     // bytes of an identifier that is known without its authority

void
gw_erasure_fini(struct gw_erasure *erasure)
{
	free(erasure->patients);
	free(erasure->windows);
	free(erasure->identifiers);
	erasure->patients = NULL;
	erasure->windows = NULL;
	erasure->identifiers = NULL;
	erasure->patient_count = erasure->window_count = erasure->identifier_count = 0;
}

bool
gw_erasure_is_patient(const struct gw_erasure *erasure, uint64_t number)
{
	for (size_t i = 0; i < erasure->patient_count; i++)
		if (erasure->patients[i] == number)
			return true;
	return false;
}

// ---- Identifiers ----

static enum gw_error
look_at_identifiers(struct gw_erasure *erasure)
{
	struct gw_patients *patients = erasure->core->patients;
	struct gw_patient patient;

	free(erasure->identifiers);
	erasure->identifier_count = 0;
	if ((erasure->identifiers = calloc(erasure->patient_count * GW_IDENTIFIERS_MAX + 1, sizeof(*erasure->identifiers))) == NULL)
		return GW_E_MEMORY;
	for (size_t i = 0; i < erasure->patient_count; i++) {
		if (!gw_patients_get(patients, erasure->patients[i], &patient))
			continue;
		for (size_t k = 0; k < patient.identifier_count; k++) {
			size_t at = erasure->identifier_count++;

			snprintf(erasure->identifiers[at].id, sizeof(erasure->identifiers[at].id), "%s", patient.identifiers[k].id);
			snprintf(erasure->identifiers[at].authority, sizeof(erasure->identifiers[at].authority), "%s", patient.identifiers[k].authority);
		}
	}
	return GW_OK;
}

// ---- Windows ----

struct looking {
	struct gw_erasure *erasure;
	struct gw_timeline *entries; // of the patient
	size_t entry_count, cap;
	int64_t now_us;
};

static enum gw_error
add_window(struct looking *looking, const char *device, int64_t from_us, int64_t to_us, bool unsure)
{
	struct gw_erasure *erasure = looking->erasure;
	struct gw_erasure_window *last = erasure->window_count > 0 ? &erasure->windows[erasure->window_count - 1] : NULL;

	if (to_us > looking->now_us)
		to_us = looking->now_us;
	if (from_us >= to_us)
		return GW_OK;
	if (last != NULL && last->to_us == from_us && last->unsure == unsure && strcmp(last->device, device) == 0) {
		last->to_us = to_us;
		return GW_OK;
	}
	if (erasure->window_count == GW_ERASURE_WINDOWS_MAX)
		return GW_E_TOO_LARGE;
	if (erasure->window_count == looking->cap) {
		size_t cap = looking->cap == 0 ? 64 : looking->cap * 2;
		struct gw_erasure_window *more = realloc(erasure->windows, cap * sizeof(*more));

		if (more == NULL)
			return GW_E_MEMORY;
		erasure->windows = more;
		looking->cap = cap;
	}
	last = &erasure->windows[erasure->window_count++];
	*last = (struct gw_erasure_window){ .from_us = from_us, .to_us = to_us, .unsure = unsure };
	snprintf(last->device, sizeof(last->device), "%s", device);
	return GW_OK;
}

// Where associations contradict each other: whether his are among them.
static bool
is_in_conflict(const struct looking *looking, const char *device, const struct gw_owner *owner)
{
	for (size_t i = 0; i < looking->entry_count; i++) {
		const struct gw_timeline *entry = &looking->entries[i];

		if (entry->from_us >= owner->to_us || entry->to_us <= owner->from_us)
			continue;
		if (entry->kind == GW_TIMELINE_DIRECT ? strcmp(entry->device, device) == 0 :
		    entry->kind == GW_TIMELINE_STAY && strcmp(entry->bed, owner->bed) == 0)
			return true;
	}
	return false;
}

static enum gw_error
look_at_device(struct looking *looking, const char *device)
{
	struct gw_patients *patients = looking->erasure->core->patients;
	struct gw_owner owner;
	enum gw_error error = GW_OK;
	int64_t us = INT64_MIN;

	for (size_t i = 0; i < STEPS_MAX && us < looking->now_us && error == GW_OK; i++) {
		gw_patients_owner(patients, gw_span_text(device), us, 0, &owner);
		if (owner.whose == GW_WHOSE_PATIENT && gw_erasure_is_patient(looking->erasure, gw_patients_resolve(patients, owner.patient)))
			error = add_window(looking, device, us, owner.to_us, false);
		else if (owner.whose == GW_WHOSE_CONFLICT && is_in_conflict(looking, device, &owner))
			error = add_window(looking, device, us, owner.to_us, true);
		us = owner.to_us > us ? owner.to_us : us + 1;
	}
	return error;
}

static enum gw_error
look_at_windows(struct looking *looking)
{
	struct gw_erasure *erasure = looking->erasure;
	struct gw_series_devices devices = { 0 };
	enum gw_error error = gw_series_devices_of_patient(&devices, erasure->core->patients, erasure->patient);

	free(erasure->windows);
	erasure->windows = NULL;
	erasure->window_count = 0;
	if (error == GW_OK)
		gw_series_devices_sort(&devices);
	for (size_t i = 0; i < devices.count && error == GW_OK; i++)
		error = look_at_device(looking, devices.at[i]);
	free(devices.at);
	return error;
}

static size_t
beds_at(const struct looking *looking, int64_t us)
{
	size_t count = 0;

	for (size_t i = 0; i < looking->entry_count; i++)
		count += looking->entries[i].kind == GW_TIMELINE_STAY && looking->entries[i].from_us <= us && looking->entries[i].to_us > us;
	return count;
}

static void
tell_present(const struct looking *looking, struct gw_why *present)
{
	present->text[0] = '\0';
	for (size_t i = 0; i < looking->entry_count && present->text[0] == '\0'; i++) {
		const struct gw_timeline *entry = &looking->entries[i];

		// Of who is forgotten so many at a time are kept: in the others another's would be surely another's.
		if (entry->kind == GW_TIMELINE_STAY && beds_at(looking, entry->from_us) > GW_ERASED_BEDS_MAX)
			snprintf(present->text, sizeof(present->text), "said to be in more than %d beds at once (vitalgate patient conflicts)", GW_ERASED_BEDS_MAX);
		if (entry->from_us > looking->now_us || entry->to_us <= looking->now_us)
			continue;
		if (entry->kind == GW_TIMELINE_CLASH && entry->conflict) // once forgotten, nobody could tell the two apart any more
			snprintf(present->text, sizeof(present->text), "not told apart from another one (vitalgate patient conflicts)");
		else if (entry->kind == GW_TIMELINE_STAY)
			snprintf(present->text, sizeof(present->text), "in bed %s", entry->bed);
		else if (entry->kind == GW_TIMELINE_DIRECT)
			snprintf(present->text, sizeof(present->text), "associated with device %s", entry->device);
	}
}

enum gw_error
gw_erasure_look(struct gw_erasure *erasure, uint64_t patient, struct gw_why *present, struct gw_why *why)
{
	struct looking looking = { .erasure = erasure, .now_us = gw_clock_wall_us() };
	struct gw_timeline_query query = { .from_us = INT64_MIN, .to_us = GW_TIME_OPEN };
	uint64_t *numbers = NULL;
	size_t count;
	enum gw_error error;

	// Where nothing is known of him any more, what was known when it was begun stays.
	if ((error = gw_patients_numbers(erasure->core->patients, patient, &numbers, &count)) != GW_OK)
		return gw_fail(why, error, "nothing is known of the patient: %s", gw_error_text(error));
	free(erasure->patients);
	erasure->patients = numbers;
	erasure->patient_count = count;
	erasure->patient = query.patient = gw_patients_resolve(erasure->core->patients, patient);
	error = look_at_identifiers(erasure);
	if (error == GW_OK)
		error = gw_patients_timeline(erasure->core->patients, &query, &looking.entries, &looking.entry_count);
	if (error == GW_OK)
		error = look_at_windows(&looking);
	if (error == GW_OK && present != NULL)
		tell_present(&looking, present);
	free(looking.entries);
	erasure->whose.patients = erasure->core->patients;
	erasure->whose.patient = erasure->patient;
	erasure->whose.kept = false;
	return error == GW_OK ? GW_OK : gw_fail(why, error, "when which device was the patient's cannot be told: %s", gw_error_text(error));
}

// ---- Is it his? ----

size_t
gw_erasure_device(const struct gw_erasure *erasure, struct gw_span device, size_t *at)
{
	size_t low = 0, high = erasure->window_count, count = 0;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const char *name = erasure->windows[middle].device;
		size_t len = strlen(name), least = len < device.len ? len : device.len;
		int order = least > 0 ? memcmp(name, device.at, least) : 0;

		if (order < 0 || (order == 0 && len < device.len))
			low = middle + 1;
		else
			high = middle;
	}
	*at = low;
	while (low + count < erasure->window_count && gw_span_is(device, erasure->windows[low + count].device))
		count++;
	return count;
}

// What was told after the person was forgotten may say that a time was another's all the same. Who is forgotten is nobody (gateway/patients_owner.c).
static bool
is_anothers(struct gw_erasure *erasure, const char *device, int64_t us, int64_t last_us)
{
	struct gw_patients *patients = erasure->core->patients;
	struct gw_series_whose *whose = &erasure->whose;

	for (size_t i = 0; i < STEPS_MAX; i++) {
		if (!whose->kept || us < whose->owner.from_us || us >= whose->owner.to_us || strcmp(device, whose->device) != 0 ||
		    whose->owner.generation != gw_patients_generation(patients))
			gw_patients_owner(patients, gw_span_text(device), us, 0, &whose->owner);
		snprintf(whose->device, sizeof(whose->device), "%s", device);
		whose->kept = true;
		if (whose->owner.whose != GW_WHOSE_NOBODY)
			return true;
		if (whose->owner.to_us > last_us)
			return false;
		us = whose->owner.to_us > us ? whose->owner.to_us : us + 1;
	}
	return true;
}

// Within the windows as a whole or in part, for all moments in which it may have been taken.
static enum gw_belongs
by_windows(struct gw_erasure *erasure, const char *device, const struct gw_point *point, bool conflicts)
{
	int64_t first_us, last_us, reached_us;
	size_t at, count = gw_erasure_device(erasure, gw_span_text(device), &at);
	bool undone = erasure->again_us != 0 && erasure->unsure; // what was in question had been erased, and is here again
	bool some = false, all = true, in_question = false;

	(void)gw_series_when(&erasure->whose, device, point, &first_us, &last_us);
	reached_us = first_us;
	for (size_t i = at; i < at + count; i++) {
		const struct gw_erasure_window *window = &erasure->windows[i];

		if (window->to_us <= first_us || window->from_us > last_us || (conflicts && !window->unsure))
			continue;
		some = true;
		all = all && (!window->unsure || undone) && window->from_us <= reached_us;
		in_question |= window->unsure;
		reached_us = window->to_us;
	}
	if (some && all && reached_us > last_us && !conflicts && !in_question && is_anothers(erasure, device, first_us, last_us))
		all = false;
	return some && all && reached_us > last_us ? GW_BELONGS : some ? GW_BELONGS_UNSURE : GW_BELONGS_NOT;
}

// While the person is known, associations are asked, as queries ask them; they say nobody's of what two contradict each other about.
enum gw_belongs
gw_erasure_belongs(struct gw_erasure *erasure, const char *device, const struct gw_point *point)
{
	enum gw_belongs belongs;

	if (erasure->whose.patients == NULL)
		return by_windows(erasure, device, point, false);
	belongs = gw_series_belongs(&erasure->whose, device, point);
	return belongs != GW_BELONGS_NOT ? belongs : by_windows(erasure, device, point, true);
}

bool
gw_erasure_covers(const struct gw_erasure *erasure, struct gw_span device, int64_t us)
{
	size_t at, count = gw_erasure_device(erasure, device, &at);

	for (size_t i = at; i < at + count; i++)
		if (us >= erasure->windows[i].from_us && us < erasure->windows[i].to_us && (!erasure->windows[i].unsure || erasure->unsure))
			return true;
	return false;
}

// ---- Does it name him? ----

static bool
is_word(uint8_t byte)
{
	return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') || byte >= 0x80 || byte == '-' || byte == '_' || byte == '.';
}

// The authority behind "^^^" where one stands there; another one is another patient's.
static bool
fits_authority(struct gw_span rest, const char *authority)
{
	size_t len = 0;

	if (rest.len < 3 || memcmp(rest.at, "^^^", 3) != 0 || authority[0] == '\0')
		return true;
	rest = gw_span(rest.at + 3, rest.len - 3);
	while (len < rest.len && memchr("^&~|\r\n", rest.at[len], 6) == NULL)
		len++;
	return len == 0 || gw_span_is(gw_span(rest.at, len), authority);
}

static bool
has_identifier(struct gw_span text, const char *id, const char *authority)
{
	size_t len = strlen(id);

	for (size_t i = 0; len > 0 && i + len <= text.len; i++)
		if (memcmp(text.at + i, id, len) == 0 && (i == 0 || !is_word(text.at[i - 1])) && (i + len == text.len || !is_word(text.at[i + len])) &&
		    fits_authority(gw_span(text.at + i + len, text.len - i - len), authority))
			return true;
	return false;
}

// Of a text that cannot be parsed: an identifier with its authority behind it, or one that no other number is by chance.
static bool
is_told_in(const struct gw_erasure *erasure, struct gw_span text)
{
	char with_authority[sizeof(erasure->identifiers[0].id) + 3 + sizeof(erasure->identifiers[0].authority)];

	for (size_t i = 0; i < erasure->identifier_count; i++) {
		const char *id = erasure->identifiers[i].id, *authority = erasure->identifiers[i].authority;

		snprintf(with_authority, sizeof(with_authority), "%s^^^%s", id, authority);
		if (strlen(id) >= ALONE_LEAST ? has_identifier(text, id, authority) : authority[0] != '\0' && has_identifier(text, with_authority, ""))
			return true;
	}
	return false;
}

// Any mention, however weak.
static bool
is_mentioned_in(const struct gw_erasure *erasure, struct gw_span text)
{
	for (size_t i = 0; i < erasure->identifier_count; i++)
		if (has_identifier(text, erasure->identifiers[i].id, erasure->identifiers[i].authority))
			return true;
	return false;
}

// How a message separates fields, components, repetitions and subcomponents (HL7 v2, chapter 2): MSH-1 and MSH-2.
struct separators {
	char field, component, repetition, sub;
};

static struct separators
separators_of(struct gw_span message)
{
	struct separators as = { '|', '^', '~', '&' };

	if (message.len < 8 || memcmp(message.at, "MSH", 3) != 0 || message.at[4] == message.at[3])
		return as;
	as.field = (char)message.at[3];
	as.component = (char)message.at[4];
	if (message.at[5] != message.at[3])
		as.repetition = (char)message.at[5];
	if (message.at[5] != message.at[3] && message.at[6] != message.at[3] && message.at[7] != message.at[3])
		as.sub = (char)message.at[7];
	return as;
}

// The first piece up to a separator; *rest goes behind it. False: there is none any more.
static bool
cut(struct gw_span *rest, char separator, struct gw_span *piece)
{
	const uint8_t *end;

	if (rest->at == NULL)
		return false;
	end = rest->len > 0 ? memchr(rest->at, (uint8_t)separator, rest->len) : NULL;
	*piece = gw_span(rest->at, end != NULL ? (size_t)(end - rest->at) : rest->len);
	*rest = end != NULL ? gw_span(end + 1, rest->len - piece->len - 1) : gw_span(NULL, 0);
	return true;
}

static struct gw_span
trimmed(struct gw_span text)
{
	while (text.len > 0 && text.at[0] == ' ')
		text = gw_span(text.at + 1, text.len - 1);
	while (text.len > 0 && text.at[text.len - 1] == ' ')
		text.len--;
	return text;
}

// One CX: its first component is the identifier, the first part of its fourth the authority. A check digit, a type or an authority's own number name nobody.
static bool
is_his_cx(const struct gw_erasure *erasure, struct gw_span cx, const struct separators *as)
{
	struct gw_span id = { 0 }, authority = { 0 }, piece;

	for (size_t i = 1; i <= 4 && cut(&cx, as->component, &piece); i++)
		if (i == 1 || i == 4)
			(void)cut(&piece, as->sub, i == 1 ? &id : &authority);
	id = trimmed(id);
	authority = trimmed(authority);
	for (size_t i = 0; id.len > 0 && i < erasure->identifier_count; i++)
		if (gw_span_is(id, erasure->identifiers[i].id) &&
		    (authority.len == 0 || erasure->identifiers[i].authority[0] == '\0' || gw_span_is(authority, erasure->identifiers[i].authority)))
			return true;
	return false;
}

// PID-2 to PID-4 (patient identifiers), MRG-1, 2 and 4 (prior ones; MRG-3 is an account).
static bool
names_in_segment(const struct gw_erasure *erasure, struct gw_span segment, const struct separators *as)
{
	bool merge = memcmp(segment.at, "MRG", 3) == 0;
	struct gw_span field, cx;

	for (size_t i = 0; i <= 4 && cut(&segment, as->field, &field); i++)
		while ((merge ? i == 1 || i == 2 || i == 4 : i >= 2) && cut(&field, as->repetition, &cx))
			if (is_his_cx(erasure, cx, as))
				return true;
	return false;
}

enum gw_erasure_naming
gw_erasure_names(const struct gw_erasure *erasure, struct gw_span message)
{
	const struct separators as = separators_of(message);
	struct gw_span rest = message;
	bool has_segment = false;

	while (rest.len > 0) {
		size_t len = 0;

		while (len < rest.len && rest.at[len] != '\r' && rest.at[len] != '\n')
			len++;
		if (len > 4 && (memcmp(rest.at, "PID", 3) == 0 || memcmp(rest.at, "MRG", 3) == 0)) {
			has_segment = true;
			if (names_in_segment(erasure, gw_span(rest.at, len), &as))
				return GW_ERASURE_NAMED;
		}
		rest = len < rest.len ? gw_span(rest.at + len + 1, rest.len - len - 1) : gw_span(NULL, 0);
	}
	if (has_segment)
		return GW_ERASURE_UNNAMED;
	return is_told_in(erasure, message) ? GW_ERASURE_TOLD : is_mentioned_in(erasure, message) ? GW_ERASURE_MENTIONED : GW_ERASURE_UNNAMED;
}
