// SPDX-License-Identifier: Apache-2.0
// The patient's frames and messages in quarantine. What a frame holds could not be read: it is his where it came while the one device for which its sender speaks was
// his, or where it names him; where the sender speaks for several, the frame came later than that, or a number in it is the same as his, it may be his: unsure. The
// thread of the erasure.
#include "gateway/erase.h"

#include "gateway/device_clock.h"

#include <stdlib.h>

struct sift {
	struct gw_erasure *erasure;
	uint64_t *ids; // that go
	size_t count, cap;
	bool failed;
};

// What a device's own frame is at a time, by its windows.
static enum gw_belongs
of_device(const struct gw_erasure *erasure, struct gw_span device, int64_t received_us)
{
	size_t at, count = gw_erasure_device(erasure, device, &at);
	enum gw_belongs belongs = GW_BELONGS_NOT;

	for (size_t i = at; i < at + count; i++) {
		const struct gw_erasure_window *window = &erasure->windows[i];

		if (!window->unsure && received_us >= window->from_us && received_us < window->to_us)
			return GW_BELONGS;
		if (received_us >= window->from_us && received_us - GW_DEVICE_CLOCK_STORED_US < window->to_us)
			belongs = GW_BELONGS_UNSURE;
	}
	return belongs;
}

static enum gw_belongs
of_principal(const struct gw_erasure *erasure, const struct gw_quarantined *entry)
{
	const struct gw_snapshot *snapshot = gw_snapshot_get(erasure->core->registry);
	const struct gw_device *sender = gw_snapshot_device(snapshot, entry->principal);
	size_t others = sender != NULL ? sender->speaks_for_count : 0;
	enum gw_belongs belongs = of_device(erasure, entry->principal, entry->received_us);

	if (others > 0 && belongs == GW_BELONGS)
		belongs = GW_BELONGS_UNSURE;
	for (size_t i = 0; i < others && belongs == GW_BELONGS_NOT; i++)
		if (of_device(erasure, gw_span_text(sender->speaks_for[i]), entry->received_us) != GW_BELONGS_NOT)
			belongs = GW_BELONGS_UNSURE;
	gw_snapshot_put(snapshot);
	return belongs;
}

// What names him and came after he was forgotten is of somebody new.
enum gw_belongs
gw_erasure_quarantined(const struct gw_erasure *erasure, const struct gw_quarantined *entry)
{
	enum gw_erasure_naming naming = GW_ERASURE_UNNAMED, by_route;
	bool hl7 = entry->door == GW_DOOR_HL7;
	enum gw_belongs belongs;

	if (erasure->forgotten_us == 0 || entry->received_us < erasure->forgotten_us) {
		naming = gw_erasure_names(erasure, entry->payload);
		by_route = gw_erasure_names(erasure, entry->route);
		naming = by_route > naming ? by_route : naming;
	}
	if (naming == GW_ERASURE_NAMED || (naming == GW_ERASURE_TOLD && hl7))
		return GW_BELONGS;
	belongs = hl7 ? GW_BELONGS_NOT : of_principal(erasure, entry);
	return naming != GW_ERASURE_UNNAMED && belongs == GW_BELONGS_NOT ? GW_BELONGS_UNSURE : belongs;
}

static bool
take(void *arg, const struct gw_quarantined *entry)
{
	struct sift *sift = arg;
	struct gw_erasure *erasure = sift->erasure;
	enum gw_belongs belongs = gw_erasure_quarantined(erasure, entry);

	erasure->counts.quarantine_unsure += belongs == GW_BELONGS_UNSURE && !erasure->unsure;
	if (!gw_erasure_takes(erasure, belongs))
		return true;
	if (sift->count == sift->cap) {
		size_t cap = sift->cap == 0 ? 64 : sift->cap * 2;
		uint64_t *more = realloc(sift->ids, cap * sizeof(*more));

		if ((sift->failed = more == NULL))
			return false;
		sift->ids = more;
		sift->cap = cap;
	}
	sift->ids[sift->count++] = entry->id;
	return true;
}

static enum gw_error
drop(struct sift *sift)
{
	struct gw_ticket *ticket = NULL;
	struct gw_source source;
	enum gw_error error = gw_source_init(&source, sift->erasure->core->intake, 1);

	if (error != GW_OK)
		return error;
	for (size_t i = 0; i < sift->count && error == GW_OK; i++) {
		if (i % 256 == 0)
			error = gw_erasure_commit(&source, &ticket);
		if (error == GW_OK)
			error = gw_ticket_unquarantine(ticket, sift->ids[i]);
	}
	if (error == GW_OK)
		error = gw_erasure_commit(&source, &ticket);
	if (ticket != NULL)
		gw_ticket_release(ticket);
	gw_source_fini(&source);
	return error;
}

enum gw_error
gw_erasure_quarantine(struct gw_erasure *erasure)
{
	struct sift sift = { .erasure = erasure };
	enum gw_error error = gw_quarantine_each(erasure->core->journal, 0, take, &sift);

	if (error == GW_OK && sift.failed)
		error = GW_E_MEMORY;
	if (error == GW_OK && sift.count > 0 && !erasure->dry)
		error = drop(&sift);
	if (error == GW_OK)
		erasure->counts.quarantine += sift.count;
	free(sift.ids);
	return error;
}
