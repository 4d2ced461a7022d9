// SPDX-License-Identifier: Apache-2.0
// Whose is it? Two or three binary searches under a read lock; nothing is allocated. Any thread.
#include "gateway/patients_internal.h"

#include "gateway/clock.h"

void
gw_standing_get(const struct gw_patients *patients, struct gw_span id, struct standing *standing)
{
	const struct gw_snapshot *snapshot = gw_snapshot_get(patients->registry);
	const struct gw_device *device = gw_snapshot_device(snapshot, id);
	size_t len;

	standing->bed[0] = '\0';
	standing->since_us = GW_TIME_OPEN;
	if (device != NULL && device->bed[0] != '\0') {
		char bed[GW_BED_MAX + 1];

		len = gw_bed_name(gw_span_text(device->bed), bed);
		memcpy(standing->bed, bed, len <= GW_NAME_MAX ? len : 0);
		standing->bed[len <= GW_NAME_MAX ? len : 0] = '\0';
		standing->since_us = device->created_us - GW_REGISTRY_BEFORE_US;
	}
	gw_snapshot_put(snapshot);
}

static void
narrow(struct owned *owned, const struct look *look)
{
	if (look->from_us > owned->from_us)
		owned->from_us = look->from_us;
	if (look->to_us < owned->to_us)
		owned->to_us = look->to_us;
}

// The bed at which a device stands: by placements; before the first of them, by the registry.
static struct gw_span
stands_at(const struct device *device, const struct standing *standing, int64_t us, struct owned *owned, struct bed **bed)
{
	struct look look = { INT64_MIN, GW_TIME_OPEN, NULL, false };
	int64_t first = device != NULL ? device->first_us : GW_TIME_OPEN;

	*bed = NULL;
	if (device != NULL)
		gw_line_look(&device->places, us, &look);
	narrow(owned, &look);
	if (look.last != NULL) {
		*bed = look.last->what;
		return gw_span((*bed)->name, (*bed)->len);
	}
	if (us >= first) {
		narrow(owned, &(struct look){ first, GW_TIME_OPEN, NULL, false });
		return gw_span(NULL, 0);
	}
	narrow(owned, &(struct look){ INT64_MIN, first, NULL, false });
	if (standing->bed[0] == '\0' || (device != NULL && device->pruned))
		return gw_span(NULL, 0);
	if (us < standing->since_us) {
		narrow(owned, &(struct look){ INT64_MIN, standing->since_us, NULL, false });
		return gw_span(NULL, 0);
	}
	narrow(owned, &(struct look){ standing->since_us, GW_TIME_OPEN, NULL, false });
	return gw_span_text(standing->bed);
}

// From when on it is in question who the patient is.
static void
contest(struct owned *owned, int64_t us)
{
	struct patient *patient = owned->patient;

	if (us < patient->contested_us) {
		narrow(owned, &(struct look){ INT64_MIN, patient->contested_us, NULL, false });
		return;
	}
	narrow(owned, &(struct look){ patient->contested_us, GW_TIME_OPEN, NULL, false });
	owned->whose = GW_WHOSE_CONFLICT;
	owned->contested = patient;
	owned->patient = NULL;
}

static void
take(struct owned *owned, const struct look *look, bool holed, int64_t us)
{
	narrow(owned, look);
	owned->by = look->last;
	if (look->last == NULL)
		return;
	owned->whose = look->clash || look->disputed || holed ? GW_WHOSE_CONFLICT : GW_WHOSE_PATIENT;
	owned->patient = owned->whose == GW_WHOSE_CONFLICT ? NULL : look->last->what;
	owned->flagged = look->last->flagged;
	if (owned->whose == GW_WHOSE_PATIENT)
		contest(owned, us);
	if (owned->patient == NULL || owned->patient->person_len > 0)
		return;
	// Of somebody who was erased: that a bed was his contradicts another's stay there, no more.
	owned->whose = GW_WHOSE_NOBODY;
	owned->patient = NULL;
	owned->by = NULL;
	owned->flagged = false;
}

void
gw_owner_look(const struct gw_patients *patients, const struct device *device, const struct standing *standing, int64_t us, struct owned *owned)
{
	struct look look;
	struct bed *bed;

	*owned = (struct owned){ .from_us = INT64_MIN, .to_us = GW_TIME_OPEN };
	owned->bed = stands_at(device, standing, us, owned, &bed);
	if (device != NULL && device->holed) {
		owned->whose = GW_WHOSE_CONFLICT;
		return;
	}
	if (device != NULL) {
		gw_line_look(&device->directs, us, &look);
		take(owned, &look, false, us);
		owned->direct = look.last != NULL;
	}
	if (owned->direct || owned->bed.len == 0)
		return;
	if (bed == NULL)
		bed = gw_bed_find(patients, owned->bed);
	if (bed == NULL)
		return;
	gw_line_look(&bed->stays, us, &look);
	take(owned, &look, patients->holed, us);
}

// ---- With a clock's uncertainty ----

static int64_t
plus(int64_t a, int64_t b)
{
	int64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? (b > 0 ? INT64_MAX : INT64_MIN) : sum;
}

static bool
same_answer(const struct owned *a, const struct owned *b)
{
	return a->whose == b->whose && a->patient == b->patient;
}

// The nearest change to another answer before or after a piece, as far as `by` away from it; false: none.
static bool
nearest_change(const struct gw_patients *patients, const struct device *device, const struct standing *standing, const struct owned *here, int64_t by,
    bool after, int64_t *change)
{
	int64_t limit = after ? plus(here->to_us, by) : plus(here->from_us, -by);
	struct owned next = *here;

	while (after ? next.to_us <= limit && next.to_us != GW_TIME_OPEN : next.from_us > limit) {
		*change = after ? next.to_us : next.from_us;
		gw_owner_look(patients, device, standing, after ? *change : *change - 1, &next);
		if (!same_answer(here, &next))
			return true;
	}
	return false;
}

// Sure is what stays the same as far as the uncertainty reaches. The window never leaves the piece in which bed, visit and order are the same, too.
static void
widen(const struct gw_patients *patients, const struct device *device, const struct standing *standing, int64_t us, int64_t by, struct owned *owned)
{
	int64_t low = INT64_MIN, high = GW_TIME_OPEN, change;
	const struct owned here = *owned;

	if (nearest_change(patients, device, standing, &here, by, false, &change)) {
		low = plus(change, by);
		if (us < low) {
			owned->whose = GW_WHOSE_UNSURE;
			narrow(owned, &(struct look){ plus(change, -by), low, NULL, false });
		}
	}
	if (nearest_change(patients, device, standing, &here, by, true, &change)) {
		high = plus(change, -by);
		if (us >= high) {
			owned->whose = GW_WHOSE_UNSURE;
			narrow(owned, &(struct look){ high, plus(change, by), NULL, false });
		}
	}
	if (owned->whose == GW_WHOSE_UNSURE)
		owned->direct = owned->flagged = false;
	else
		narrow(owned, &(struct look){ low, high, NULL, false });
}

static void
copy(struct gw_span text, char *out, size_t cap)
{
	size_t len = text.len < cap ? text.len : cap - 1;

	if (len > 0)
		memcpy(out, text.at, len);
	out[len] = '\0';
}

// What the association itself does not say is taken from where the patient lay.
static void
fill(const struct owned *owned, int64_t us, struct gw_owner *owner)
{
	const struct note *note = owned->by != NULL && owned->whose == GW_WHOSE_PATIENT ? owned->by->note : NULL, *stay = NULL, *other = NULL, *order;
	struct gw_span bed = owned->bed;
	struct look look;

	if (owned->whose == GW_WHOSE_PATIENT) {
		gw_line_look(&owned->patient->stays, us, &look);
		if (look.last != NULL && owned->direct) {
			stay = look.last->note;
			other = look.last->order;
			if (bed.len == 0 && !look.disputed)
				bed = gw_span(((struct bed *)look.last->what)->name, ((struct bed *)look.last->what)->len);
		}
		if (owned->direct) {
			owner->from_us = look.from_us > owner->from_us ? look.from_us : owner->from_us;
			owner->to_us = look.to_us < owner->to_us ? look.to_us : owner->to_us;
		}
		owner->patient = owned->patient->number;
		owner->since_us = owned->by->from_us;
	}
	copy(bed, owner->bed, sizeof(owner->bed));
	copy(gw_note_text(note, NOTE_VISIT).len > 0 ? gw_note_text(note, NOTE_VISIT) : gw_note_text(stay, NOTE_VISIT), owner->visit, sizeof(owner->visit));
	copy(gw_note_text(note, NOTE_CLASS).len > 0 ? gw_note_text(note, NOTE_CLASS) : gw_note_text(stay, NOTE_CLASS), owner->patient_class,
	    sizeof(owner->patient_class));
	order = note != NULL && gw_note_text(owned->by->order, NOTE_ORDER).len > 0 ? owned->by->order : other;
	copy(gw_note_text(order, NOTE_ORDER), owner->order, sizeof(owner->order));
	copy(gw_note_text(order, NOTE_ORDER_AUTHORITY), owner->order_authority, sizeof(owner->order_authority));
}

// Of that time things are forgotten: what is left must not be taken for all there was.
static bool
too_old(const struct gw_patients *patients, int64_t us, int64_t by, struct owned *owned)
{
	int64_t horizon_us = gw_clock_wall_us() - patients->options.keep_us;

	if (plus(us, -by) >= horizon_us)
		return false;
	*owned = (struct owned){ .from_us = INT64_MIN, .to_us = horizon_us };
	if (us >= horizon_us)
		*owned = (struct owned){ .whose = GW_WHOSE_UNSURE, .from_us = horizon_us, .to_us = plus(horizon_us, by) };
	return true;
}

void
gw_patients_owner(struct gw_patients *patients, struct gw_span id, int64_t effective_us, int64_t uncertainty_us, struct gw_owner *owner)
{
	const struct device *device;
	struct standing standing;
	struct owned owned;

	gw_standing_get(patients, id, &standing);
	pthread_rwlock_rdlock(&patients->lines);
	if (!too_old(patients, effective_us, uncertainty_us, &owned)) {
		device = gw_tracked_find(patients, id);
		gw_owner_look(patients, device, &standing, effective_us, &owned);
		if (uncertainty_us > 0)
			widen(patients, device, &standing, effective_us, uncertainty_us, &owned);
	}
	owner->whose = owned.whose;
	owner->patient = 0;
	owner->since_us = 0;
	owner->from_us = owned.from_us;
	owner->to_us = owned.to_us;
	owner->direct = owned.direct;
	owner->flagged = owned.flagged;
	owner->generation = gw_patients_generation(patients);
	fill(&owned, effective_us, owner);
	pthread_rwlock_unlock(&patients->lines);
}
