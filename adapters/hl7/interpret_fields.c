// SPDX-License-Identifier: Apache-2.0
// The interpreter's fields: identifiers (CX), persons (PID, XPN), beds (PL), times, devices (EI). Any thread.
#include "adapters/hl7/interpret_impl.h"

#include "adapters/hl7/dtm.h"

#include <ctype.h>

#define ID_MAX 64 // as gateway/patients.h keeps them: what is longer is refused, since a cut identifier is another patient's
#define TYPE_MAX 16

// Text of a path written here.
struct gw_span
gw_hl7_path_value(struct gw_hl7_reading *r, const char *path, struct gw_hl7_scope scope)
{
	struct gw_hl7_path parsed;

	if (gw_hl7_path_parse(gw_span_text(path), &parsed, NULL) != GW_OK)
		return gw_span(NULL, 0);
	return gw_hl7_text(r->in, gw_hl7_get(r->in, &parsed, scope));
}

static struct gw_span
component_text(struct gw_hl7_reading *r, struct gw_span repetition, unsigned n)
{
	return gw_hl7_text(r->in, gw_hl7_component(r->in, repetition, n));
}

// Of HD, PL-4, XPN-1: the first subcomponent, else the second (an OID without a name).
static struct gw_span
first_part(struct gw_hl7_reading *r, struct gw_span component)
{
	struct gw_span part = gw_hl7_subcomponent(r->in, component, 1);

	return gw_hl7_text(r->in, part.len > 0 ? part : gw_hl7_subcomponent(r->in, component, 2));
}

struct gw_span
gw_hl7_mapped_text(struct gw_hl7_reading *r, const struct gw_hl7_paths *paths, struct gw_hl7_scope scope, size_t max)
{
	const struct gw_hl7_path *path;
	struct gw_span raw = gw_hl7_first(r->in, paths, scope, &path), text;

	if (raw.len == 0 || gw_hl7_is_null(raw))
		return gw_span(NULL, 0);
	text = gw_hl7_text(r->in, path->component == 0 ? gw_hl7_component(r->in, raw, 1) : raw);
	if (text.len > max)
		gw_hl7_fault_at(r, 102, path, scope, "longer than the 64 bytes that are kept");
	return text;
}

// ---- Identifiers and persons ----

static void
add_identifier(struct gw_hl7_reading *r, const struct gw_hl7_path *path, struct gw_hl7_scope scope, struct gw_span repetition, struct gw_person *person)
{
	struct gw_span raw = gw_hl7_component(r->in, repetition, path->component > 0 ? path->component : 1);
	struct gw_identifier *identifier = &person->identifiers[person->identifier_count];

	if (raw.len == 0 || gw_hl7_is_null(raw) || person->identifier_count == GW_IDENTIFIERS_MAX)
		return;
	*identifier = (struct gw_identifier){ .id = gw_hl7_text(r->in, raw) };
	if (path->component == 0) {
		identifier->authority = first_part(r, gw_hl7_component(r->in, repetition, 4));
		identifier->type = component_text(r, repetition, 5);
	}
	if (identifier->type.len > TYPE_MAX)
		identifier->type = gw_span(NULL, 0);
	if (identifier->id.len > ID_MAX || identifier->authority.len > ID_MAX)
		gw_hl7_fault_at(r, 102, path, scope, "an identifier or its authority is longer than the 64 bytes that are kept");
	person->identifier_count++;
}

// An account's or a visit's number is given to others later: it would lead to them. Who maps it by its type or place means it.
static bool
is_nobodys(const struct gw_hl7_reading *r, const struct gw_hl7_path *path, struct gw_span repetition)
{
	struct gw_span type = gw_hl7_component(r->in, repetition, 5);

	for (size_t i = 0; path->select == 0 && path->repetition == 0 && i < r->mapping->patient_not_count; i++)
		if (gw_span_is(type, r->mapping->patient_not[i]))
			return true;
	return false;
}

// All repetitions of the first path of which one is an identifier.
void
gw_hl7_identifiers(struct gw_hl7_reading *r, const struct gw_hl7_paths *paths, struct gw_hl7_scope scope, struct gw_person *person)
{
	bool left_out = false;

	for (size_t i = 0; i < paths->count && person->identifier_count == 0; i++) {
		const struct gw_hl7_path *path = &paths->path[i];
		struct gw_span field = gw_hl7_field(r->in, gw_hl7_path_segment(r->in, path, scope), path->field), repetition;

		for (unsigned n = 1; gw_hl7_next(r->in, &field, &repetition); n++)
			if (!gw_hl7_path_takes(r->in, path, repetition, n))
				continue;
			else if (is_nobodys(r, path, repetition))
				left_out = true;
			else
				add_identifier(r, path, scope, repetition, person);
	}
	if (person->identifier_count == 0 && paths->count > 0)
		gw_hl7_fault_at(r, 101, &paths->path[0], scope, left_out ? "no identifier of the patient but of an account or the like (fields: patient_not)" :
		    "no identifier of the patient");
}

// The legal name (XPN-7 L) where there is one, else the first.
static struct gw_span
legal_name(struct gw_hl7_reading *r, struct gw_span field)
{
	struct gw_span first = gw_span(NULL, 0), repetition;

	while (gw_hl7_next(r->in, &field, &repetition)) {
		if (gw_span_is(gw_hl7_component(r->in, repetition, 7), "L"))
			return repetition;
		if (first.at == NULL)
			first = repetition;
	}
	return first;
}

static void
take_name(struct gw_hl7_reading *r, struct gw_span name, struct gw_person *person)
{
	person->family = gw_hl7_is_null(name) ? name : first_part(r, gw_hl7_component(r->in, name, 1));
	person->given = component_text(r, name, 2);
	person->middle = component_text(r, name, 3);
	person->suffix = component_text(r, name, 4);
	person->prefix = component_text(r, name, 5);
}

void
gw_hl7_person(struct gw_hl7_reading *r, struct gw_hl7_scope scope, struct gw_person *person)
{
	static const struct gw_hl7_path pid = { .segment = GW_HL7_NAME('P', 'I', 'D'), .field = 3 };
	size_t segment = gw_hl7_path_segment(r->in, &pid, scope);

	gw_hl7_identifiers(r, &r->mapping->patient, scope, person);
	take_name(r, legal_name(r, gw_hl7_field(r->in, segment, 5)), person);
	person->birth = component_text(r, gw_hl7_field(r->in, segment, 7), 1);
	person->sex = component_text(r, gw_hl7_field(r->in, segment, 8), 1);
	person->account = gw_hl7_mapped_text(r, &r->mapping->account, scope, ID_MAX);
}

void
gw_hl7_visit(struct gw_hl7_reading *r, struct gw_hl7_scope scope, struct gw_patient_event *event)
{
	event->visit = gw_hl7_mapped_text(r, &r->mapping->visit, scope, ID_MAX);
	event->patient_class = gw_hl7_mapped_text(r, &r->mapping->class_, scope, ID_MAX);
	if (event->patient_class.len > 8)
		event->patient_class = gw_span(NULL, 0);
}

// ---- Beds ----

// PL-1 to PL-4, those that count, joined with ^ in their places; trailing empty ones cut off. Zero-copy where the message has it like that.
static struct gw_span
join_location(struct gw_hl7_reading *r, struct gw_span location)
{
	uint8_t *out = gw_hl7_room(r->in, GW_BED_MAX + 1);
	size_t len = 0, last = 0;

	if (out == NULL)
		return gw_span(NULL, 0);
	for (unsigned n = 1; n <= 4; n++) {
		struct gw_span part = first_part(r, gw_hl7_component(r->in, location, n));

		if (n > 1 && len < GW_BED_MAX)
			out[len++] = '^';
		if ((r->mapping->bed_components >> (n - 1) & 1) == 0 || part.len == 0 || gw_hl7_is_null(part))
			continue;
		if (part.len > GW_BED_MAX - len)
			return gw_span(out, GW_BED_MAX + 1);
		memcpy(out + len, part.at, part.len);
		last = len += part.len;
	}
	return gw_span(out, last);
}

struct gw_span
gw_hl7_bed(struct gw_hl7_reading *r, const struct gw_hl7_paths *paths, struct gw_hl7_scope scope, bool *told)
{
	const struct gw_hl7_path *path;
	struct gw_span location = gw_hl7_first(r->in, paths, scope, &path), needed, bed;
	uint8_t needs = r->mapping->bed_needs;

	*told = path != NULL && !gw_hl7_is_null(location);
	if (!*told)
		return gw_span(NULL, 0);
	if (path->component > 0) {
		bed = gw_hl7_text(r->in, location);
	} else {
		needed = needs > 0 ? gw_hl7_component(r->in, location, needs) : location;
		if (needed.len == 0 || gw_hl7_is_null(needed))
			return gw_span(NULL, 0);
		bed = join_location(r, location);
	}
	if (bed.len > GW_BED_MAX)
		gw_hl7_fault_at(r, 102, path, scope, "a bed's name is longer than is kept");
	return bed;
}

// ---- Times ----

int64_t
gw_hl7_when(struct gw_hl7_reading *r, const struct gw_hl7_paths *paths, struct gw_hl7_scope scope)
{
	for (size_t i = 0; i < paths->count; i++) {
		struct gw_span raw = gw_hl7_get(r->in, &paths->path[i], scope);
		struct gw_hl7_dtm dtm;

		if (raw.len > 0 && paths->path[i].component == 0)
			raw = gw_hl7_component(r->in, raw, 1);
		if (raw.len == 0 || gw_hl7_is_null(raw))
			continue;
		if (!gw_hl7_dtm_parse(raw, r->context->zone, r->near_us, &dtm)) {
			gw_hl7_fault_at(r, 102, &paths->path[i], scope, "no time of the form YYYYMMDDHHMM[SS[.S]][+/-ZZZZ]");
			return r->context->received_us;
		}
		if (dtm.precision >= GW_HL7_MINUTE) // a day alone would give a patient the hours before the admission too
			return dtm.us;
	}
	return r->context->received_us;
}

// ---- Devices ----

// 16 hexadecimal digits, '-' and ':' between them or not; 0 where it is none.
static uint64_t
eui64_of(struct gw_span text)
{
	uint64_t value = 0;
	int digits = 0;

	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.at[i];

		if ((c == '-' || c == ':') && digits > 0)
			continue;
		if (!isxdigit(c) || ++digits > 16)
			return 0;
		value = value << 4 | (uint64_t)(isdigit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return digits == 16 ? value : 0;
}

struct gw_span
gw_hl7_device(struct gw_hl7_reading *r, const struct gw_hl7_path *path, struct gw_hl7_scope scope, bool *told)
{
	struct gw_span raw = gw_hl7_get(r->in, path, scope), name, universal = gw_span(NULL, 0), id = gw_span(NULL, 0);
	uint64_t eui64;

	name = component_text(r, raw, 1);
	if (path->component == 0)
		universal = component_text(r, raw, 3);
	*told = name.len > 0 || universal.len > 0;
	if (!*told)
		return id;
	eui64 = eui64_of(universal);
	if (name.len == 0)
		name = universal;
	if (eui64 == 0)
		eui64 = eui64_of(name);
	return r->context->find_device != NULL && r->context->find_device(r->context->arg, eui64, name, &id) ? id : gw_span(NULL, 0);
}

static bool
is_named(const struct gw_device *device, struct gw_span name)
{
	return (device->serial[0] != '\0' && gw_span_is(name, device->serial)) || (device->asset[0] != '\0' && gw_span_is(name, device->asset));
}

// The only device that is called so: its id, else its serial number or asset number (two makers may have the same: then nobody is meant).
static const struct gw_device *
by_name(const struct gw_snapshot *snapshot, struct gw_span name)
{
	const struct gw_device *device, *found = name.len > 0 ? gw_snapshot_device(snapshot, name) : NULL;
	size_t i = 0;

	if (found != NULL || name.len == 0)
		return found;
	while ((device = gw_snapshot_at(snapshot, i++)) != NULL)
		if (is_named(device, name)) {
			if (found != NULL)
				return NULL;
			found = device;
		}
	return found;
}

static const struct gw_device *
by_eui64(const struct gw_snapshot *snapshot, uint64_t eui64)
{
	const struct gw_device *device, *found = NULL;
	size_t i = 0;

	while (eui64 != 0 && (device = gw_snapshot_at(snapshot, i++)) != NULL)
		if (device->eui64 == eui64) {
			if (found != NULL)
				return NULL;
			found = device;
		}
	return found;
}

bool
gw_hl7_find_device(void *snapshot, uint64_t eui64, struct gw_span name, struct gw_span *id)
{
	const struct gw_device *device = by_eui64(snapshot, eui64), *named = by_name(snapshot, name);

	if (device == NULL) {
		device = named;
		if (eui64 != 0 && device != NULL && device->eui64 != 0) // called so, but another
			return false;
	}
	if (device == NULL || (named != NULL && named != device))
		return false;
	*id = gw_span_text(device->id);
	return true;
}
