// SPDX-License-Identifier: Apache-2.0
// Writing ORU^R01. Reads from top to bottom as the message does: MSH, PID, PV1, then for each OBR the device's rows and its metrics in order of OBX-4.
#include "adapters/hl7/oru_impl.h"

#include "gateway/bytes.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define TIME_ABS 67975       // MDC_ATTR_TIME_ABS
#define SAMPLE_RATE 68320    // MDC_ATTR_SAMPLE_RATE
#define DATA_RANGE 68323     // MDC_ATTR_DATA_RANGE
#define DATA_MISSING 197378  // MDC_EVT_DATA_MISSING
#define PER_SEC 264608       // MDC_DIM_PER_SEC
#define SETTINGS 258         // partition of settings
#define ST_MAX 199           // characters of ST (section 2A, ST); longer ones are FT
#define NO_TIME INT64_MIN

// ---- Identifiers ----

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"; // Crockford's

static void
base32(const uint8_t *hash, char *out, size_t digits)
{
	uint32_t bits = 0, have = 0;

	for (size_t i = 0; i < digits; i++) {
		if (have < 5) {
			bits = bits << 8 | *hash++;
			have += 8;
		}
		have -= 5;
		out[i] = alphabet[bits >> have & 31];
	}
	out[digits] = '\0';
}

static void
put_base32(struct gw_hl7_out *out, uint64_t number, unsigned digits)
{
	char text[13];

	for (unsigned i = digits; i > 0; number >>= 5)
		text[--i] = alphabet[number & 31];
	gw_hl7_put_bytes(out, gw_span(text, digits));
}

static void
hash_text(crypto_generichash_state *state, const char *text)
{
	crypto_generichash_update(state, (const uint8_t *)text, strlen(text) + 1);
}

// In the order in which the readings stand in the message, whatever that of the group was.
static void
make_origin(const struct gw_hl7_oru *oru, const struct row *rows, char out[GW_HL7_ID_LEN + 1])
{
	crypto_generichash_state state;
	uint8_t key[24], hash[16];

	crypto_generichash_init(&state, NULL, 0, sizeof(hash));
	gw_put64(key, oru->incarnation);
	crypto_generichash_update(&state, key, 8);
	hash_text(&state, oru->settings->name);
	hash_text(&state, oru->group->device);
	for (size_t i = 0; i < oru->group->count; i++) {
		const struct gw_reading *reading = &rows[i].item->reading;

		gw_put64(key, (uint64_t)reading->time_us);
		gw_put32(key + 8, reading->signal);
		gw_put32(key + 12, reading->sequence);
		gw_put32(key + 16, reading->instance);
		gw_put32(key + 20, reading->revision);
		crypto_generichash_update(&state, key, 24);
	}
	crypto_generichash_final(&state, hash, sizeof(hash));
	base32(hash, out, GW_HL7_ID_LEN);
}

static void
make_ids(const struct gw_hl7_oru *oru, const struct row *rows, struct gw_hl7_ids *ids)
{
	crypto_generichash_state state;
	uint8_t more[16], hash[16];
	char keys[GW_HL7_ID_LEN + 1];

	make_origin(oru, rows, keys);
	memcpy(ids->origin, oru->group->origin[0] != '\0' ? oru->group->origin : keys, sizeof(ids->origin));
	crypto_generichash_init(&state, NULL, 0, sizeof(hash));
	hash_text(&state, keys);
	hash_text(&state, ids->origin);
	gw_put64(more, oru->patient != NULL ? oru->patient->number : 0);
	gw_put32(more + 8, (uint32_t)oru->status);
	gw_put32(more + 12, oru->group->again);
	crypto_generichash_update(&state, more, sizeof(more));
	crypto_generichash_final(&state, hash, sizeof(hash));
	base32(hash, ids->control_id, GW_HL7_ID_LEN);
}

// ---- Order ----

static int
compare(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

// OBRs in order of the device's time, the interval's first; blocks of waveforms one by one.
static int
by_obr(const struct row *x, const struct row *y)
{
	int order;

	if (x->obr_us != y->obr_us)
		return x->obr_us < y->obr_us ? -1 : 1;
	if (x->waves != y->waves || !x->waves)
		return x->waves - y->waves;
	order = compare(x->item->reading.signal, y->item->reading.signal);
	return order != 0 ? order : compare(x->item->reading.instance, y->item->reading.instance);
}

static int
by_place(const struct row *x, const struct row *y)
{
	int order;

	if ((order = compare(x->place.vmd, y->place.vmd)) != 0 || (order = compare(x->place.channel, y->place.channel)) != 0)
		return order;
	return compare(x->place.metric, y->place.metric);
}

static int
by_record(const struct row *x, const struct row *y)
{
	int order = compare(x->item->position, y->item->position);

	return order != 0 ? order : compare(x->item->index, y->item->index);
}

static int
find_occurrences(const void *a, const void *b)
{
	int order;

	return (order = by_obr(a, b)) != 0 || (order = by_place(a, b)) != 0 ? order : by_record(a, b);
}

static int
final_order(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int order;

	return (order = by_obr(x, y)) != 0 || (order = compare(x->occurrence, y->occurrence)) != 0 ? order : by_place(x, y);
}

static struct row *
rows_of(const struct gw_hl7_group *group)
{
	struct row *rows = calloc(group->count, sizeof(*rows));
	bool repeats = false;

	if (rows == NULL)
		return NULL;
	for (size_t i = 0; i < group->count; i++) {
		const struct gw_hl7_item *item = &group->items[i];

		rows[i].item = item;
		rows[i].waves = item->own_time && item->reading.type == GW_VALUE_SAMPLES;
		rows[i].obr_us = item->own_time ? item->reading.time_us : NO_TIME;
		gw_hl7_place(item->reading.signal, item->reading.instance, &rows[i].place);
	}
	qsort(rows, group->count, sizeof(*rows), find_occurrences);
	for (size_t i = 1; i < group->count; i++) {
		if (by_obr(&rows[i], &rows[i - 1]) == 0 && by_place(&rows[i], &rows[i - 1]) == 0) {
			rows[i].occurrence = rows[i - 1].occurrence + 1;
			repeats = true;
		}
	}
	if (repeats)
		qsort(rows, group->count, sizeof(*rows), final_order);
	return rows;
}

// ---- Segments ----

static void
begin_segment(struct writer *w, const char *text)
{
	w->start = w->out->len;
	gw_hl7_put(w->out, text);
}

// Fields that are empty at the end are not written.
static void
end_segment(struct writer *w)
{
	if (w->settings->override_count > 0)
		gw_hl7_override_apply(w->settings, w->out, w->start, &w->scratch);
	while (!w->out->failed && w->out->len > w->start && w->out->at[w->out->len - 1] == '|')
		w->out->len--;
	gw_hl7_put(w->out, "\r");
}

static void
put_text(struct gw_hl7_out *out, const char *text)
{
	gw_hl7_put_text(out, gw_span_text(text));
}

static void
put_field(struct gw_hl7_out *out, const char *text)
{
	put_text(out, text);
	gw_hl7_put(out, "|");
}

// Empty where it is plain ASCII (TF-2 B.1).
static const char *
charset_name(const struct gw_hl7_settings *settings)
{
	const char *name = gw_hl7_charset_name(settings->charset);

	return strcmp(name, "ASCII") == 0 ? "" : name;
}

static void
put_msh(struct writer *w)
{
	const struct gw_hl7_settings *settings = w->settings;

	begin_segment(w, "MSH|^~\\&|");
	put_text(w->out, settings->sending_application);
	gw_hl7_put(w->out, "^");
	gw_hl7_put(w->out, w->eui64);
	gw_hl7_put(w->out, "^EUI-64|");
	put_field(w->out, settings->sending_facility);
	put_field(w->out, settings->receiving_application);
	put_field(w->out, settings->receiving_facility);
	gw_hl7_put_time(w->out, w->oru->now_us);
	gw_hl7_put(w->out, "||ORU^R01^ORU_R01|");
	gw_hl7_put(w->out, w->ids->control_id);
	gw_hl7_put(w->out, "|");
	gw_hl7_put(w->out, settings->processing_id);
	gw_hl7_put(w->out, "|");
	gw_hl7_put(w->out, settings->version);
	gw_hl7_put(w->out, "|||");
	gw_hl7_put(w->out, settings->accept_ack);
	gw_hl7_put(w->out, "|");
	gw_hl7_put(w->out, settings->application_ack);
	gw_hl7_put(w->out, "||");
	gw_hl7_put(w->out, charset_name(settings));
	gw_hl7_put(w->out, "|||IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO");
	end_segment(w);
}

// Components from `first` on, those that are empty at the end not written.
static void
put_components(struct gw_hl7_out *out, const char *const *texts, size_t count)
{
	while (count > 0 && texts[count - 1][0] == '\0')
		count--;
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			gw_hl7_put(out, "^");
		put_text(out, texts[i]);
	}
}

// Name type L: legal; U where there is no name (TF-2 B.5).
static void
put_name(struct gw_hl7_out *out, const struct gw_patient *patient)
{
	const char *const name[] = { patient->family, patient->given, patient->middle, patient->suffix, patient->prefix, "", "L" };

	if (patient->family[0] == '\0' && patient->given[0] == '\0')
		gw_hl7_put(out, "^^^^^^U");
	else
		put_components(out, name, 7);
}

static void
put_patient(struct writer *w)
{
	const struct gw_patient *patient = w->oru->patient;

	begin_segment(w, "PID|||");
	if (patient == NULL) {
		gw_hl7_put(w->out, "||^^^^^^U||||||||||||||||||||||||||Y");
		end_segment(w);
		return;
	}
	for (size_t i = 0; i < patient->identifier_count; i++) {
		const char *const cx[] = { patient->identifiers[i].id, "", "", patient->identifiers[i].authority, patient->identifiers[i].type };

		if (i > 0)
			gw_hl7_put(w->out, "~");
		put_components(w->out, cx, 5);
	}
	gw_hl7_put(w->out, "||");
	put_name(w->out, patient);
	gw_hl7_put(w->out, "||");
	put_field(w->out, patient->birth);
	put_text(w->out, patient->sex);
	gw_hl7_put(w->out, "||||||||||");
	put_text(w->out, patient->account);
	end_segment(w);
}

// A bed's name is PV1-3's components as they are (gateway/patients.h).
static void
put_bed(struct gw_hl7_out *out, const char *bed)
{
	for (;;) {
		size_t len = strcspn(bed, "^");

		gw_hl7_put_text(out, gw_span(bed, len));
		if (bed[len] == '\0')
			return;
		gw_hl7_put(out, "^");
		bed += len + 1;
	}
}

static void
put_location(const struct writer *w)
{
	const struct gw_owner *owner = w->oru->owner;
	const struct gw_device *device = w->oru->device;

	const char *standing = device != NULL ? device->bed : "", *bed = owner != NULL && owner->bed[0] != '\0' ? owner->bed : standing;

	if (strchr(bed, '^') != NULL || strcmp(bed, standing) != 0) {
		put_bed(w->out, bed);
	} else if (device != NULL) { // as the registry calls it, which has a ward beside it
		const char *const location[] = { device->ward, "", bed };

		put_components(w->out, location, 3);
	}
}

static void
put_visit(struct writer *w)
{
	const struct gw_owner *owner = w->oru->owner;

	begin_segment(w, "PV1||");
	put_field(w->out, owner != NULL && owner->patient_class[0] != '\0' ? owner->patient_class : "U");
	put_location(w);
	if (owner != NULL && owner->visit[0] != '\0') {
		gw_hl7_put(w->out, "||||||||||||||||");
		put_text(w->out, owner->visit);
	}
	end_segment(w);
}

// Unique and the same whenever these readings go: the message in which they went first, and the device's time.
static void
put_filler(const struct writer *w, const struct row *row)
{
	gw_hl7_put(w->out, w->eui64);
	gw_hl7_put(w->out, w->ids->origin);
	if (row->obr_us != NO_TIME)
		put_base32(w->out, (uint64_t)row->obr_us, 13);
	if (row->waves)
		put_base32(w->out, (uint64_t)row->item->reading.signal << 16 | row->item->reading.instance, 10);
	if (row->occurrence > 0) {
		gw_hl7_put(w->out, "-");
		gw_hl7_put_number(w->out, row->occurrence);
	}
	gw_hl7_put(w->out, "^");
	put_text(w->out, w->settings->sending_application);
	gw_hl7_put(w->out, "^");
	gw_hl7_put(w->out, w->eui64);
	gw_hl7_put(w->out, "^EUI-64");
}

static void
put_order(struct writer *w)
{
	const char *const order[] = { w->oru->owner->order, w->oru->owner->order_authority };

	put_components(w->out, order, w->oru->owner->order[0] != '\0' ? 2 : 0);
}

static void
put_obr(struct writer *w, const struct row *row)
{
	bool interval = row->obr_us == NO_TIME;

	begin_segment(w, "OBR|");
	gw_hl7_put_number(w->out, ++w->obr);
	gw_hl7_put(w->out, "|");
	if (w->oru->owner != NULL)
		put_order(w);
	gw_hl7_put(w->out, "|");
	put_filler(w, row);
	gw_hl7_put(w->out, row->waves ? "|69121^MDC_OBS_WAVE_CTS^MDC|||" : "|182777000^monitoring of patient^SCT|||");
	gw_hl7_put_time(w->out, interval ? w->group->from_us : row->item->effective.us);
	if (interval || row->waves) {
		gw_hl7_put(w->out, "|");
		gw_hl7_put_time(w->out, interval ? w->group->to_us : row->item->effective.us + gw_hl7_span_us(&row->item->reading));
	}
	end_segment(w);
}

// ---- Device rows ----

// OBX-18 at MDS level: the EUI-64; else the maker's serial number; else the name that this gateway gives the device.
static void
put_equipment(const struct writer *w)
{
	const struct gw_device *device = w->oru->device;

	if (device != NULL && device->eui64 != 0) {
		gw_hl7_put_eui64(w->out, device->eui64);
		gw_hl7_put(w->out, "^^");
		gw_hl7_put_eui64(w->out, device->eui64);
		gw_hl7_put(w->out, "^EUI-64");
	} else if (device != NULL && device->serial[0] != '\0') {
		put_text(w->out, device->serial);
		gw_hl7_put(w->out, "^");
		put_text(w->out, device->manufacturer);
		gw_hl7_put(w->out, device->manufacturer[0] != '\0' && device->model[0] != '\0' ? " " : "");
		put_text(w->out, device->model);
	} else {
		put_text(w->out, w->group->device);
		gw_hl7_put(w->out, "^");
		put_text(w->out, w->settings->sending_application);
		gw_hl7_put(w->out, "^");
		gw_hl7_put(w->out, w->eui64);
		gw_hl7_put(w->out, "^EUI-64");
	}
}

// OBX-1 to OBX-4 and the separator after it. type may be empty.
static void
put_obx(struct writer *w, const char *type, uint32_t code, const char *refid, const struct gw_hl7_place *place, const char *facet)
{
	const uint32_t numbers[] = { place->vmd, place->channel, place->metric };

	begin_segment(w, "OBX|");
	gw_hl7_put_number(w->out, ++w->obx);
	gw_hl7_put(w->out, "|");
	gw_hl7_put(w->out, type);
	gw_hl7_put(w->out, "|");
	gw_hl7_put_code(w->out, code, refid);
	gw_hl7_put(w->out, "|1");
	for (size_t i = 0; i < 3; i++) {
		gw_hl7_put(w->out, ".");
		gw_hl7_put_number(w->out, numbers[i]);
	}
	gw_hl7_put(w->out, facet);
	gw_hl7_put(w->out, "|");
}

static void
put_device_row(struct writer *w, uint32_t code, const char *refid, uint32_t vmd, uint32_t channel)
{
	put_obx(w, "", code, refid, &(struct gw_hl7_place){ .vmd = vmd, .channel = channel }, "");
	gw_hl7_put(w->out, "||||||X");
	if (vmd == 0) {
		gw_hl7_put(w->out, "|||||||");
		put_equipment(w);
	}
	end_segment(w);
}

// What the device's clock showed when the hub's showed OBX-14 (TF-2 B.8.7).
static void
put_clock(struct writer *w)
{
	if (!w->group->has_clock)
		return;
	put_obx(w, "DTM", TIME_ABS, "MDC_ATTR_TIME_ABS", &(struct gw_hl7_place){ .metric = TIME_ABS }, "");
	gw_hl7_put_time(w->out, w->group->device_us);
	gw_hl7_put(w->out, "||||||R|||");
	gw_hl7_put_time(w->out, w->group->hub_us);
	end_segment(w);
}

// ---- Metrics ----

// OBX-8 and OBX-11 belong together (measurement status; TF-2 B.8, HL7/uv-pocd mapping).
static const struct { uint16_t flag; const char *status; bool no_value; } states[] = {
	{ GW_FLAG_INVALID, "INV", true },
	{ GW_FLAG_NOT_AVAILABLE, "NAV", true },
	{ GW_FLAG_QUESTIONABLE, "QUES", false },
	{ GW_FLAG_TEST, "TEST", false },
};

static void
put_states(struct gw_hl7_out *out, uint16_t flags)
{
	const char *before = "";

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		if (!(flags & states[i].flag))
			continue;
		gw_hl7_put(out, before);
		gw_hl7_put(out, states[i].status);
		before = "~";
	}
}

// What has no value has none for anybody: X also where it corrects, or went to the wrong patient.
static const char *
status_of(const struct writer *w, const struct gw_hl7_item *item, uint16_t flags)
{
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if ((flags & states[i].flag) && states[i].no_value)
			return "X";
	if (w->oru->status == GW_HL7_WRONG_PATIENT)
		return "W";
	return w->oru->status == GW_HL7_CORRECTED || item->corrected ? "C" : "R";
}

static bool
has_value(const struct gw_reading *reading)
{
	return gw_hl7_valid(reading) && (reading->type != GW_VALUE_SAMPLES || gw_hl7_range_of(&reading->samples).any);
}

static const char *
type_of(const struct gw_reading *reading)
{
	static const char *const types[] = { [GW_VALUE_DECIMAL] = "NM", [GW_VALUE_CODE] = "CWE", [GW_VALUE_TEXT] = "ST", [GW_VALUE_SAMPLES] = "NA" };

	if (!has_value(reading) || reading->type > GW_VALUE_SAMPLES)
		return "";
	return reading->type == GW_VALUE_TEXT && reading->text.len > ST_MAX ? "FT" : types[reading->type];
}

static void
put_enumeration(struct gw_hl7_out *out, const struct gw_reading *reading)
{
	const char *refid = gw_code_refid(reading->code);

	if (refid != NULL) {
		gw_hl7_put_code(out, reading->code, refid);
		return;
	}
	gw_hl7_put_number(out, reading->code);
	gw_hl7_put(out, "^");
	gw_hl7_put_text(out, reading->received);
	gw_hl7_put(out, "^MDC");
}

static void
put_decimal(struct gw_hl7_out *out, struct gw_decimal value, const struct gw_unit *unit)
{
	char digits[48];

	gw_hl7_put_bytes(out, gw_span(digits, gw_decimal_text(value, digits)));
	gw_hl7_put(out, "|");
	if (unit != NULL)
		gw_hl7_put_unit(out, unit);
}

// OBX-5 and OBX-6.
static void
put_value(struct gw_hl7_out *out, const struct gw_reading *reading, const struct gw_hl7_said *said)
{
	if (reading->type == GW_VALUE_DECIMAL) {
		put_decimal(out, said->value, said->unit);
		return;
	}
	if (reading->type == GW_VALUE_CODE)
		put_enumeration(out, reading);
	else if (reading->type == GW_VALUE_TEXT)
		gw_hl7_put_text(out, reading->text);
	else if (reading->type == GW_VALUE_SAMPLES)
		gw_hl7_put_samples(out, &reading->samples);
	gw_hl7_put(out, "|");
	if (reading->type == GW_VALUE_SAMPLES && said->unit != NULL)
		gw_hl7_put_unit(out, said->unit);
}

// What was said, which no field of OBX has a place for.
static void
put_received(struct writer *w, const struct gw_reading *reading)
{
	begin_segment(w, "NTE|1||received as ");
	gw_hl7_put_text(w->out, reading->received);
	gw_hl7_put(w->out, reading->unit_received.len > 0 ? " " : "");
	gw_hl7_put_text(w->out, reading->unit_received);
	end_segment(w);
}

static void
end_facet(struct writer *w, const char *status)
{
	gw_hl7_put(w->out, "|||||");
	gw_hl7_put(w->out, status);
	end_segment(w);
}

// Facets of a waveform: its rate, its range, and what stands for a sample that is missing.
static void
put_facets(struct writer *w, const struct row *row, const struct gw_unit *unit, const char *status)
{
	const struct gw_samples *samples = &row->item->reading.samples;
	struct gw_hl7_range range = gw_hl7_range_of(samples);
	char digits[48];

	put_obx(w, "NM", SAMPLE_RATE, "MDC_ATTR_SAMPLE_RATE", &row->place, ".1");
	put_decimal(w->out, gw_hl7_rate_of(samples), gw_unit_by_code(PER_SEC));
	end_facet(w, status);
	put_obx(w, "NR", DATA_RANGE, "MDC_ATTR_DATA_RANGE", &row->place, ".2");
	gw_hl7_put_bytes(w->out, gw_span(digits, gw_decimal_text((struct gw_decimal){ range.low, samples->exponent }, digits)));
	gw_hl7_put(w->out, "^");
	put_decimal(w->out, (struct gw_decimal){ range.high, samples->exponent }, unit);
	end_facet(w, status);
	if (!range.missing)
		return;
	put_obx(w, "NM", DATA_MISSING, "MDC_EVT_DATA_MISSING", &row->place, ".2.1");
	gw_hl7_put(w->out, GW_HL7_SENTINEL "|");
	if (unit != NULL)
		gw_hl7_put_unit(w->out, unit);
	end_facet(w, status);
}

static const char *
category_of(const struct gw_reading *reading)
{
	bool setting = reading->kind == GW_KIND_SETTING || reading->signal >> 16 == SETTINGS;

	return setting ? "|||ASET^auto-setting^MDC" : "|||AMEAS^auto-measurement^MDC";
}

// obr_us: its OBR's time; NO_TIME where that is an interval.
static void
put_metric(struct writer *w, const struct row *row, int64_t obr_us)
{
	const struct gw_hl7_item *item = row->item;
	const struct gw_reading *reading = &item->reading;
	struct gw_hl7_said said = { .unit = gw_unit_by_code(reading->unit != 0 ? reading->unit : 262656) };
	uint16_t flags = reading->flags;
	bool valued = has_value(reading);
	const char *status;

	if (!valued && !(flags & GW_FLAG_INVALID))
		flags |= GW_FLAG_NOT_AVAILABLE;
	if (valued && reading->type == GW_VALUE_DECIMAL)
		gw_hl7_said(w->settings, reading, &said);
	status = status_of(w, item, flags);
	put_obx(w, type_of(reading), reading->signal, gw_code_refid(reading->signal), &row->place, "");
	if (valued)
		put_value(w->out, reading, &said);
	else
		gw_hl7_put(w->out, "|");
	gw_hl7_put(w->out, "||");
	put_states(w->out, flags);
	gw_hl7_put(w->out, "|||");
	gw_hl7_put(w->out, status);
	gw_hl7_put(w->out, "|||");
	if (item->effective.us != obr_us)
		gw_hl7_put_time(w->out, item->effective.us);
	if (reading->kind != GW_KIND_EVENT) // an event was neither measured nor set
		gw_hl7_put(w->out, category_of(reading));
	end_segment(w);
	if (said.note)
		put_received(w, reading);
	if (valued && reading->type == GW_VALUE_SAMPLES)
		put_facets(w, row, said.unit, status);
}

// One OBR: rows[0..count) with device rows where the level changes.
static void
put_observation(struct writer *w, const struct row *rows, size_t count)
{
	int64_t obr_us = rows->obr_us != NO_TIME ? rows->item->effective.us : NO_TIME;
	uint32_t vmd = 0, channel = 0;

	put_obr(w, rows);
	put_device_row(w, w->oru->mds, gw_code_refid(w->oru->mds), 0, 0);
	put_clock(w);
	for (size_t i = 0; i < count; i++) {
		const struct gw_hl7_place *place = &rows[i].place;

		if (place->vmd != vmd) {
			put_device_row(w, place->vmd_code, place->vmd_refid, place->vmd, 0);
			channel = 0;
		}
		if (place->channel_code != 0 && place->channel != channel)
			put_device_row(w, place->channel_code, place->channel_refid, place->vmd, place->channel);
		vmd = place->vmd;
		channel = place->channel;
		put_metric(w, &rows[i], obr_us);
	}
}

// ---- The message ----

static void
convert(struct writer *w)
{
	struct gw_hl7_out converted = { 0 };
	const uint8_t *at = w->out->at, *end = at + w->out->len;

	if (w->out->failed || w->settings->charset == gw_hl7_charset_utf8())
		return;
	while (at < end && *at < 0x80)
		at++;
	if (at == end)
		return;
	(void)gw_hl7_charset_put(&converted, w->settings->charset, gw_span(w->out->at, w->out->len), '\\');
	gw_hl7_out_fini(w->out);
	*w->out = converted;
}

static bool
any_test(const struct gw_hl7_group *group)
{
	for (size_t i = 0; i < group->count; i++)
		if (group->items[i].reading.flags & GW_FLAG_TEST)
			return true;
	return false;
}

enum gw_error
gw_hl7_oru_encode(const struct gw_hl7_oru *oru, struct gw_hl7_out *out, struct gw_hl7_ids *ids)
{
	const struct gw_hl7_group *group = oru->group;
	struct writer w = { .oru = oru, .settings = oru->settings, .group = group, .out = out, .ids = ids };
	struct row *rows;

	out->len = 0;
	out->failed = false;
	if (group->count == 0)
		return GW_E_EMPTY;
	if (oru->settings->production && any_test(group))
		return GW_E_FORBIDDEN;
	if ((rows = rows_of(group)) == NULL)
		return GW_E_MEMORY;
	snprintf(w.eui64, sizeof(w.eui64), "%016llX", (unsigned long long)oru->settings->eui64);
	make_ids(oru, rows, ids);
	put_msh(&w);
	put_patient(&w);
	put_visit(&w);
	for (size_t from = 0, to; from < group->count; from = to) {
		for (to = from + 1; to < group->count && by_obr(&rows[to], &rows[from]) == 0 && rows[to].occurrence == rows[from].occurrence;)
			to++;
		put_observation(&w, rows + from, to - from);
	}
	free(rows);
	convert(&w);
	gw_hl7_out_fini(&w.scratch);
	return out->failed ? GW_E_MEMORY : GW_OK;
}
