// SPDX-License-Identifier: Apache-2.0
// Writing ORU^R01. Reads from top to bottom as the message does: MSH, PID, PV1, then for each OBR the device's rows and its metrics in order of OBX-4.
#include "adapters/hl7/oru.h"

#include "adapters/hl7/containment.h"
#include "gateway/bytes.h"
#include "gateway/nomenclature.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define TIME_ABS 67975 // MDC_ATTR_TIME_ABS
#define DIMLESS 262656 // MDC_DIM_DIMLESS
#define NO_TIME INT64_MIN

// An item with its place: what the message is sorted by.
struct row {
	const struct gw_hl7_item *item;
	struct gw_hl7_place place;
	int64_t obr_us;      // NO_TIME: the interval's OBR
	uint32_t occurrence; // OBX-4 must not repeat in one OBR: the second of its kind goes to the next
};

struct writer {
	const struct gw_hl7_sender *sender;
	const struct gw_hl7_group *group;
	const struct gw_device *device;
	struct gw_hl7_out *out;
	const char *control_id;
	uint32_t mds;
	unsigned obr, obx; // running numbers
};

// ---- Identifiers ----

static void
base32(const uint8_t *hash, char *out, size_t digits)
{
	static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
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
hash_text(crypto_generichash_state *state, const char *text)
{
	crypto_generichash_update(state, (const uint8_t *)text, strlen(text) + 1);
}

void
gw_hl7_control_id(const struct gw_hl7_sender *sender, const struct gw_hl7_group *group, char out[GW_HL7_ID_LEN + 1])
{
	crypto_generichash_state state;
	uint8_t key[28], hash[16];

	crypto_generichash_init(&state, NULL, 0, sizeof(hash));
	gw_put64(key, sender->incarnation);
	crypto_generichash_update(&state, key, 8);
	hash_text(&state, sender->destination);
	hash_text(&state, group->device);
	for (size_t i = 0; i < group->count; i++) {
		const struct gw_reading *reading = &group->items[i].reading;

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

// ---- Order ----

static int
compare(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int
by_place(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int order;

	if (x->obr_us != y->obr_us)
		return x->obr_us < y->obr_us ? -1 : 1;
	if ((order = compare(x->occurrence, y->occurrence)) != 0 || (order = compare(x->place.vmd, y->place.vmd)) != 0 ||
	    (order = compare(x->place.channel, y->place.channel)) != 0 || (order = compare(x->place.metric, y->place.metric)) != 0)
		return order;
	return compare(x->item->moment, y->item->moment);
}

static struct row *
rows_of(const struct gw_hl7_sender *sender, const struct gw_hl7_group *group)
{
	struct row *rows = calloc(group->count, sizeof(*rows));

	for (size_t i = 0; rows != NULL && i < group->count; i++) {
		const struct gw_reading *reading = &group->items[i].reading;

		rows[i].item = &group->items[i];
		rows[i].obr_us = sender->all || reading->kind == GW_KIND_EVENT ? reading->time_us : NO_TIME;
		gw_hl7_place(reading->signal, reading->instance, &rows[i].place);
		for (size_t j = 0; j < i; j++)
			if (rows[j].obr_us == rows[i].obr_us && rows[j].item->reading.signal == reading->signal &&
			    rows[j].item->reading.instance == reading->instance)
				rows[i].occurrence++;
	}
	if (rows != NULL)
		qsort(rows, group->count, sizeof(*rows), by_place);
	return rows;
}

// ---- Segments ----

static void
put_field(struct gw_hl7_out *out, const char *text)
{
	gw_hl7_put_text(out, gw_span_text(text));
	gw_hl7_put(out, "|");
}

static void
put_msh(const struct writer *w, int64_t now_us)
{
	const struct gw_hl7_sender *sender = w->sender;

	gw_hl7_put(w->out, "MSH|^~\\&|");
	gw_hl7_put_text(w->out, gw_span_text(sender->application));
	gw_hl7_putf(w->out, "^%s^EUI-64|", sender->eui64);
	put_field(w->out, sender->facility);
	put_field(w->out, sender->receiving_application);
	put_field(w->out, sender->receiving_facility);
	gw_hl7_put_time(w->out, now_us);
	gw_hl7_putf(w->out, "||ORU^R01^ORU_R01|%s|%s|2.6|||AL|NE||UNICODE UTF-8|||", w->control_id, sender->production ? "P" : "D");
	gw_hl7_put(w->out, "IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO\r");
}

static void
put_patient(const struct writer *w)
{
	gw_hl7_put(w->out, "PID|||||^^^^^^U||||||||||||||||||||||||||Y\r");
	gw_hl7_put(w->out, "PV1||U");
	if (w->device != NULL && (w->device->ward[0] != '\0' || w->device->bed[0] != '\0')) {
		gw_hl7_put(w->out, "|");
		gw_hl7_put_text(w->out, gw_span_text(w->device->ward));
		if (w->device->bed[0] != '\0') {
			gw_hl7_put(w->out, "^^");
			gw_hl7_put_text(w->out, gw_span_text(w->device->bed));
		}
	}
	gw_hl7_put(w->out, "\r");
}

static void
put_obr(struct writer *w, const struct row *row)
{
	const struct gw_hl7_sender *sender = w->sender;

	w->obr++;
	gw_hl7_putf(w->out, "OBR|%u||%s%s%02u^", w->obr, sender->eui64, w->control_id, w->obr);
	gw_hl7_put_text(w->out, gw_span_text(sender->application));
	gw_hl7_putf(w->out, "^%s^EUI-64|182777000^monitoring of patient^SCT|||", sender->eui64);
	gw_hl7_put_time(w->out, row->obr_us != NO_TIME ? row->obr_us : w->group->from_us);
	if (row->obr_us == NO_TIME) {
		gw_hl7_put(w->out, "|");
		gw_hl7_put_time(w->out, w->group->to_us);
	}
	gw_hl7_put(w->out, "\r");
}

static void
put_code(struct gw_hl7_out *out, uint32_t code, const char *refid)
{
	gw_hl7_putf(out, "%u^%s^MDC", code, refid != NULL ? refid : "");
}

// OBX-18 at MDS level: the EUI-64; else the maker's serial number; else the name that this gateway gives the device.
static void
put_equipment(const struct writer *w)
{
	const struct gw_device *device = w->device;

	if (device != NULL && device->eui64 != 0) {
		gw_hl7_putf(w->out, "%016llX^^%016llX^EUI-64", (unsigned long long)device->eui64, (unsigned long long)device->eui64);
	} else if (device != NULL && device->serial[0] != '\0') {
		gw_hl7_put_text(w->out, gw_span_text(device->serial));
		gw_hl7_put(w->out, "^");
		gw_hl7_put_text(w->out, gw_span_text(device->manufacturer));
		gw_hl7_put(w->out, device->manufacturer[0] != '\0' && device->model[0] != '\0' ? " " : "");
		gw_hl7_put_text(w->out, gw_span_text(device->model));
	} else {
		gw_hl7_put_text(w->out, gw_span_text(w->group->device));
		gw_hl7_put(w->out, "^");
		gw_hl7_put_text(w->out, gw_span_text(w->sender->application));
		gw_hl7_putf(w->out, "^%s^EUI-64", w->sender->eui64);
	}
}

static void
put_device_row(struct writer *w, uint32_t code, const char *refid, uint32_t vmd, uint32_t channel)
{
	gw_hl7_putf(w->out, "OBX|%u||", ++w->obx);
	put_code(w->out, code, refid);
	gw_hl7_putf(w->out, "|1.%u.%u.0|||||||X", vmd, channel);
	if (vmd == 0) {
		gw_hl7_put(w->out, "|||||||");
		put_equipment(w);
	}
	gw_hl7_put(w->out, "\r");
}

// What the device's clock showed when the hub's showed OBX-14 (TF-2 B.8.7).
static void
put_clock(struct writer *w)
{
	if (!w->group->has_clock)
		return;
	gw_hl7_putf(w->out, "OBX|%u|DTM|", ++w->obx);
	put_code(w->out, TIME_ABS, "MDC_ATTR_TIME_ABS");
	gw_hl7_putf(w->out, "|1.0.0.%u|", TIME_ABS);
	gw_hl7_put_time(w->out, w->group->device_us);
	gw_hl7_put(w->out, "||||||R|||");
	gw_hl7_put_time(w->out, w->group->hub_us);
	gw_hl7_put(w->out, "\r");
}

// OBX-8 and OBX-11 belong together (measurement status; TF-2 B.8, HL7/uv-pocd mapping).
static const struct { uint16_t flag; const char *status; bool no_value; } states[] = {
	{ GW_FLAG_INVALID, "INV", true },
	{ GW_FLAG_NOT_AVAILABLE, "NAV", true },
	{ GW_FLAG_QUESTIONABLE, "QUES", false },
	{ GW_FLAG_TEST, "TEST", false },
};

static bool
put_status(struct gw_hl7_out *out, uint16_t flags)
{
	bool no_value = false;
	const char *before = "";

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		if (!(flags & states[i].flag))
			continue;
		gw_hl7_putf(out, "%s%s", before, states[i].status);
		before = "~";
		no_value = no_value || states[i].no_value;
	}
	return no_value;
}

static void
put_unit(struct gw_hl7_out *out, uint32_t code)
{
	const struct gw_unit *unit = gw_unit_by_code(code != 0 ? code : DIMLESS);

	if (unit == NULL)
		return;
	put_code(out, unit->code, unit->refid);
	gw_hl7_put(out, "^");
	gw_hl7_put_text(out, gw_span_text(unit->ucum));
	gw_hl7_put(out, "^");
	gw_hl7_put_text(out, gw_span_text(unit->ucum));
	gw_hl7_put(out, "^UCUM");
}

static const char *
type_of(const struct gw_reading *reading)
{
	static const char *const types[] = { [GW_VALUE_DECIMAL] = "NM", [GW_VALUE_CODE] = "CWE", [GW_VALUE_TEXT] = "ST" };

	return gw_hl7_valid(reading) && reading->type <= GW_VALUE_TEXT ? types[reading->type] : "";
}

// OBX-5 and OBX-6.
static void
put_value(struct gw_hl7_out *out, const struct gw_reading *reading)
{
	char digits[48];

	if (reading->type == GW_VALUE_DECIMAL)
		gw_hl7_putf(out, "%.*s", (int)gw_decimal_text(reading->decimal, digits), digits);
	else if (reading->type == GW_VALUE_CODE)
		put_code(out, reading->code, gw_code_refid(reading->code));
	else if (reading->type == GW_VALUE_TEXT)
		gw_hl7_put_text(out, reading->text);
	gw_hl7_put(out, "|");
	if (reading->type == GW_VALUE_DECIMAL)
		put_unit(out, reading->unit);
}

// A value that was converted goes with what was said, which no field of OBX has a place for.
static void
put_received(struct gw_hl7_out *out, const struct gw_reading *reading)
{
	const struct gw_unit *unit = reading->unit_received.len > 0 ? gw_unit_by_ucum(reading->unit_received) : NULL;
	struct gw_decimal said;

	if (reading->type != GW_VALUE_DECIMAL || reading->received.len == 0 || !gw_decimal_parse(reading->received, &said))
		return;
	if (gw_decimal_compare(said, reading->decimal) == 0 && (unit == NULL || unit->code == reading->unit))
		return;
	gw_hl7_put(out, "NTE|1||received as ");
	gw_hl7_put_text(out, reading->received);
	gw_hl7_put(out, reading->unit_received.len > 0 ? " " : "");
	gw_hl7_put_text(out, reading->unit_received);
	gw_hl7_put(out, "\r");
}

static void
put_metric(struct writer *w, const struct row *row)
{
	const struct gw_reading *reading = &row->item->reading;
	bool valid = gw_hl7_valid(reading), no_value;
	uint16_t flags = reading->flags;

	if (!valid && !(flags & GW_FLAG_INVALID))
		flags |= GW_FLAG_NOT_AVAILABLE;
	gw_hl7_putf(w->out, "OBX|%u|%s|", ++w->obx, type_of(reading));
	put_code(w->out, reading->signal, gw_code_refid(reading->signal));
	gw_hl7_putf(w->out, "|1.%u.%u.%u|", row->place.vmd, row->place.channel, row->place.metric);
	if (valid)
		put_value(w->out, reading);
	else
		gw_hl7_put(w->out, "|");
	gw_hl7_put(w->out, "||");
	no_value = put_status(w->out, flags);
	gw_hl7_put(w->out, no_value ? "|||X" : "|||R");
	if (reading->kind != GW_KIND_EVENT) { // an event stands in an OBR of its own time, and was neither measured nor set
		gw_hl7_put(w->out, "|||");
		if (row->obr_us == NO_TIME)
			gw_hl7_put_time(w->out, reading->time_us);
		gw_hl7_put(w->out, reading->kind == GW_KIND_SETTING ? "|||ASET^auto-setting^MDC" : "|||AMEAS^auto-measurement^MDC");
	}
	gw_hl7_put(w->out, "\r");
	if (valid)
		put_received(w->out, reading);
}

// One OBR: rows[0..count) with device rows where the level changes.
static void
put_observation(struct writer *w, const struct row *rows, size_t count)
{
	uint32_t vmd = 0, channel = 0;

	put_obr(w, rows);
	put_device_row(w, w->mds, gw_code_refid(w->mds), 0, 0);
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
		put_metric(w, &rows[i]);
	}
}

enum gw_error
gw_hl7_oru_encode(const struct gw_hl7_sender *sender, const struct gw_hl7_group *group, const struct gw_device *device, uint32_t mds, int64_t now_us,
    struct gw_hl7_out *out, char control_id[GW_HL7_ID_LEN + 1])
{
	struct writer w = { .sender = sender, .group = group, .device = device, .out = out, .control_id = control_id, .mds = mds };
	struct row *rows;

	out->len = 0;
	out->failed = false;
	if (group->count == 0)
		return GW_E_EMPTY;
	if ((rows = rows_of(sender, group)) == NULL)
		return GW_E_MEMORY;
	gw_hl7_control_id(sender, group, control_id);
	put_msh(&w, now_us);
	put_patient(&w);
	for (size_t from = 0, to; from < group->count; from = to) {
		for (to = from + 1; to < group->count && rows[to].obr_us == rows[from].obr_us && rows[to].occurrence == rows[from].occurrence;)
			to++;
		put_observation(&w, rows + from, to - from);
	}
	free(rows);
	return out->failed ? GW_E_MEMORY : GW_OK;
}
