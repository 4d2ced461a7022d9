// SPDX-License-Identifier: Apache-2.0
// Erasing in a destination's rows: the header says what goes. First what is his is gathered from the ledger, then messages go, then the ledger's rows: where it ends
// half way, the ledger still tells what is left to do.
#include "adapters/hl7/erase.h"

#include "adapters/hl7/filed.h"
#include "adapters/hl7/outbox.h"

#include <stdlib.h>

#define TICKET_BYTES 65536
#define TICKET_ROWS 500

// A row of the ledger that goes, as a whole or in part.
struct his {
	char device[GW_ID_MAX + 1], control_id[GW_HL7_ID_LEN + 1];
	int64_t least_us;
	bool in_part;
};

struct erasing {
	struct gw_erasure *erasure;
	struct gw_hl7_outbox outbox; // its keys; nothing is loaded
	struct his *his;             // by control id, once they are gathered
	size_t count, cap;
	struct gw_source source;
	struct gw_ticket *ticket;
	size_t rows;
	uint8_t *record;             // GW_RECORD_MAX bytes
	uint64_t position;           // what it holds; 0: nothing
	struct gw_record opened;
	bool gone, parked;           // messages went; those that are walked are parked
	enum gw_error error;
};

// ---- Which readings ----

static bool
find_record(struct erasing *erasing, uint64_t position)
{
	if (erasing->position == position)
		return true;
	erasing->position = 0;
	if (gw_journal_one(erasing->erasure->core->journal, position, erasing->record, GW_RECORD_MAX, &erasing->opened) != GW_OK)
		return false;
	erasing->position = position;
	return true;
}

// Whether a reading that a row names is erased. Of one that is no longer in the journal its time decides.
static bool
is_erased(struct erasing *erasing, const struct gw_hl7_filed *filed, const struct gw_hl7_filed_item *item)
{
	struct gw_reading reading;
	struct gw_batch batch;

	if (erasing->erasure->dry || !find_record(erasing, item->position) || gw_batch_open(&erasing->opened, &batch, NULL) != GW_OK)
		return gw_erasure_covers(erasing->erasure, gw_span_text(filed->device), item->effective_us);
	for (uint16_t place = 0; place <= item->place; place++)
		if (!gw_batch_next(&batch, &reading))
			return false;
	return gw_reading_is_erased(&reading);
}

static size_t
count_erased(struct erasing *erasing, const struct gw_hl7_filed *filed)
{
	size_t count = 0, at;

	if (gw_erasure_device(erasing->erasure, gw_span_text(filed->device), &at) == 0)
		return 0;
	for (size_t i = 0; i < filed->count; i++)
		count += is_erased(erasing, filed, &filed->items[i]);
	return count;
}

// ---- Gathering ----

static bool
keep(struct erasing *erasing, const struct gw_hl7_filed *filed, bool in_part)
{
	struct his *his;

	if (erasing->count == erasing->cap) {
		size_t cap = erasing->cap == 0 ? 256 : erasing->cap * 2;
		struct his *more = realloc(erasing->his, cap * sizeof(*more));

		if (more == NULL) {
			erasing->error = GW_E_MEMORY;
			return false;
		}
		erasing->his = more;
		erasing->cap = cap;
	}
	his = &erasing->his[erasing->count++];
	*his = (struct his){ .least_us = filed->least_us, .in_part = in_part };
	memcpy(his->device, filed->device, sizeof(his->device));
	memcpy(his->control_id, filed->control_id, sizeof(his->control_id));
	return true;
}

static bool
gather(void *arg, const struct gw_hl7_filed *filed)
{
	struct erasing *erasing = arg;
	size_t erased;

	if (filed->owner.patient != 0 && gw_erasure_is_patient(erasing->erasure, filed->owner.patient))
		return keep(erasing, filed, false);
	erased = count_erased(erasing, filed);
	return erased == 0 || keep(erasing, filed, erased < filed->count);
}

static int
by_id(const void *a, const void *b)
{
	return strcmp(((const struct his *)a)->control_id, ((const struct his *)b)->control_id);
}

static const struct his *
find(const struct erasing *erasing, struct gw_span control_id)
{
	struct his key;

	if (control_id.len > GW_HL7_ID_LEN || erasing->count == 0)
		return NULL;
	memcpy(key.control_id, control_id.at, control_id.len);
	key.control_id[control_id.len] = '\0';
	return bsearch(&key, erasing->his, erasing->count, sizeof(key), by_id);
}

// ---- Deleting ----

static bool
commit_if_due(struct erasing *erasing)
{
	if (++erasing->rows < TICKET_ROWS && erasing->ticket->ops_len < TICKET_BYTES)
		return erasing->error == GW_OK;
	erasing->rows = 0;
	if (erasing->error == GW_OK)
		erasing->error = gw_erasure_commit(&erasing->source, &erasing->ticket);
	return erasing->error == GW_OK;
}

// Once he is forgotten no message is made for him; one that names him is of somebody new.
static bool
names_him(const struct gw_erasure *erasure, struct gw_span message)
{
	return erasure->forgotten_us == 0 && gw_erasure_names(erasure, message) == GW_ERASURE_NAMED;
}

static bool
take_message(void *arg, const struct gw_hl7_parked *parked)
{
	struct erasing *erasing = arg;
	const struct gw_hl7_message message = { .number = parked->number };

	if (find(erasing, parked->control_id) == NULL && !names_him(erasing->erasure, parked->message))
		return true;
	erasing->erasure->counts.messages++;
	if (erasing->erasure->dry)
		return true;
	erasing->gone |= !erasing->parked;
	erasing->error = erasing->parked ? gw_hl7_outbox_drop(&erasing->outbox, erasing->ticket, parked->number)
	    : gw_hl7_outbox_del(&erasing->outbox, erasing->ticket, &message);
	return commit_if_due(erasing);
}

// What is left of a row: held again where its message is gone, else as it was.
static enum gw_error
put_rest(struct erasing *erasing, const struct gw_hl7_filed *filed)
{
	struct gw_hl7_filed rest = *filed;
	enum gw_error error;

	if ((rest.items = calloc(filed->count, sizeof(*rest.items))) == NULL)
		return GW_E_MEMORY;
	rest.count = 0;
	rest.least_us = INT64_MAX;
	for (size_t i = 0; i < filed->count; i++) {
		if (is_erased(erasing, filed, &filed->items[i]))
			continue;
		rest.least_us = filed->items[i].effective_us < rest.least_us ? filed->items[i].effective_us : rest.least_us;
		rest.items[rest.count++] = filed->items[i];
	}
	if (rest.state == GW_HL7_FILED_MADE || rest.state == GW_HL7_FILED_PARKED)
		rest.state = GW_HL7_FILED_HELD;
	if (rest.state == GW_HL7_FILED_HELD)
		gw_hl7_held_id(&rest.items[0], rest.control_id);
	error = gw_hl7_filed_put(erasing->outbox.prefix, erasing->ticket, &rest);
	free(rest.items);
	return error;
}

static bool
take_row(void *arg, const struct gw_hl7_filed *filed)
{
	struct erasing *erasing = arg;
	const struct his *his = find(erasing, gw_span_text(filed->control_id));

	if (his == NULL)
		return true;
	if (filed->state == GW_HL7_FILED_HELD)
		erasing->erasure->counts.held++;
	else
		erasing->erasure->counts.ledger++;
	if (erasing->erasure->dry)
		return true;
	erasing->error = gw_hl7_filed_del(erasing->outbox.prefix, erasing->ticket, filed->device, filed->least_us, filed->control_id);
	if (erasing->error == GW_OK && his->in_part)
		erasing->error = put_rest(erasing, filed);
	return commit_if_due(erasing);
}

// ---- All of it ----

static enum gw_error
walk_messages(struct erasing *erasing, bool parked)
{
	enum gw_error error;

	erasing->parked = parked;
	error = gw_hl7_outbox_each(&erasing->outbox, parked ? "parked" : "outbox", take_message, erasing);
	return error == GW_OK ? erasing->error : error;
}

static enum gw_error
erase(struct erasing *erasing)
{
	struct gw_journal *journal = erasing->erasure->core->journal;
	const char *prefix = erasing->outbox.prefix;
	enum gw_error error = gw_hl7_filed_each(journal, prefix, gw_span(NULL, 0), INT64_MIN, INT64_MAX, gather, erasing);

	if (error == GW_OK)
		error = erasing->error;
	if (error == GW_OK && erasing->count > 0)
		qsort(erasing->his, erasing->count, sizeof(*erasing->his), by_id);
	if (error == GW_OK)
		error = gw_erasure_commit(&erasing->source, &erasing->ticket);
	if (error == GW_OK && (error = walk_messages(erasing, false)) == GW_OK)
		error = walk_messages(erasing, true);
	if (error == GW_OK && erasing->count > 0) {
		error = gw_hl7_filed_each(journal, prefix, gw_span(NULL, 0), INT64_MIN, INT64_MAX, take_row, erasing);
		error = error == GW_OK ? erasing->error : error;
	}
	return error == GW_OK ? gw_erasure_commit(&erasing->source, &erasing->ticket) : error;
}

enum gw_error
gw_hl7_erase_rows(const char *destination, struct gw_erasure *erasure, bool *gone)
{
	struct erasing *erasing = calloc(1, sizeof(*erasing));
	enum gw_error error = GW_E_MEMORY;

	if (erasing == NULL)
		return error;
	erasing->erasure = erasure;
	gw_hl7_outbox_init(&erasing->outbox, erasure->core->journal, destination);
	if ((erasing->record = malloc(GW_RECORD_MAX)) != NULL && (error = gw_source_init(&erasing->source, erasure->core->intake, 1)) == GW_OK) {
		error = erase(erasing);
		if (erasing->ticket != NULL)
			gw_ticket_release(erasing->ticket);
		gw_source_fini(&erasing->source);
	}
	if (gone != NULL)
		*gone = erasing->gone;
	free(erasing->record);
	free(erasing->his);
	free(erasing);
	return error;
}
