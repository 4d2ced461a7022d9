// SPDX-License-Identifier: Apache-2.0
// Orders (ORM^O01, HL7 v2 chapter 4, tables 0119 and 0038) and association reports (IHE PCIM DEV-51): who is monitored by what. Any thread.
#include "adapters/hl7/interpret_impl.h"

#define ORC GW_HL7_NAME('O', 'R', 'C')
#define OBR GW_HL7_NAME('O', 'B', 'R')
#define OBX GW_HL7_NAME('O', 'B', 'X')

#define ORDER_MAX 64

enum control { NOTHING, START, STOP, RESUME, CHANGE, REPLACE };

// Requests of a placer, what a filler reports of its own accord, and what it says it did on request. Others ask or answer something and change nothing.
static const struct { char code[3]; enum control control; } controls[] = {
	{ "NW", START }, { "SN", START }, { "PA", START }, { "CH", START }, { "RO", START },
	{ "CA", STOP }, { "DC", STOP }, { "HD", STOP }, { "OC", STOP }, { "OD", STOP }, { "OH", STOP }, { "CR", STOP }, { "DR", STOP }, { "HR", STOP },
	{ "RL", RESUME }, { "RE", RESUME }, { "OE", RESUME }, { "OR", RESUME },
	{ "XO", CHANGE }, { "XX", CHANGE }, { "XR", CHANGE }, { "SC", CHANGE },
	{ "RP", REPLACE }, { "RU", REPLACE }, { "RQ", REPLACE },
};

static enum control
control_of(struct gw_span code)
{
	for (size_t i = 0; i < sizeof(controls) / sizeof(controls[0]); i++)
		if (gw_span_is(code, controls[i].code))
			return controls[i].control;
	return NOTHING;
}

// ORC-5 says how the order stands, whatever ORC-1 asks: cancelled, completed, discontinued or replaced is over, and on hold is as good as that, but where
// the message itself releases it.
static bool
is_over(struct gw_span status, enum control control)
{
	static const char over[][3] = { "CA", "CM", "DC", "RP" };

	for (size_t i = 0; i < sizeof(over) / sizeof(over[0]); i++)
		if (gw_span_is(status, over[i]))
			return true;
	return gw_span_is(status, "HD") && control != RESUME;
}

static bool
has_control(const struct gw_hl7_in *in, const char *code)
{
	for (size_t i = gw_hl7_find(in, ORC, 0, in->segment_count); i < in->segment_count; i = gw_hl7_find(in, ORC, i + 1, in->segment_count))
		if (gw_span_is(gw_hl7_component(in, gw_hl7_field(in, i, 1), 1), code))
			return true;
	return false;
}

// "code" or "code^system" is OBR-4.1 with OBR-4.3, or OBR-4.4 with OBR-4.6.
static bool
is_service(const struct gw_hl7_in *in, struct gw_span service, const char *wanted)
{
	const char *system = strchr(wanted, '^');
	struct gw_span code = gw_span(wanted, system != NULL ? (size_t)(system - wanted) : strlen(wanted));

	for (unsigned n = 1; n <= 4; n += 3)
		if (gw_span_equal(gw_hl7_component(in, service, n), code) &&
		    (system == NULL || gw_span_is(gw_hl7_component(in, service, n + 2), system + 1)))
			return true;
	return false;
}

// The first OBR in [from, to) that orders monitoring; `to` where there is none.
static size_t
find_service(const struct gw_hl7_reading *r, size_t from, size_t to)
{
	for (size_t i = gw_hl7_find(r->in, OBR, from, to); i < to; i = gw_hl7_find(r->in, OBR, i + 1, to))
		for (size_t k = 0; k < r->mapping->service_count; k++)
			if (is_service(r->in, gw_hl7_field(r->in, i, 4), r->mapping->services[k]))
				return i;
	return to;
}

static void
take_number(struct gw_hl7_reading *r, size_t orc, size_t obr, struct gw_patient_event *event)
{
	struct gw_span ei = gw_hl7_field(r->in, orc, 2);
	bool of_obr = gw_hl7_component(r->in, ei, 1).len == 0;

	if (of_obr)
		ei = gw_hl7_field(r->in, obr, 2);
	event->order = gw_hl7_text(r->in, gw_hl7_component(r->in, ei, 1));
	event->order_authority = gw_hl7_text(r->in, gw_hl7_component(r->in, ei, 2));
	if (event->order.len > ORDER_MAX || event->order_authority.len > ORDER_MAX)
		gw_hl7_fault(r, 102, of_obr ? OBR : ORC, of_obr ? obr : orc, 2, "longer than the 64 bytes that are kept");
}

// The device that the order names, else the bed.
static void
take_object(struct gw_hl7_reading *r, struct gw_hl7_scope scope, struct gw_patient_event *event)
{
	const struct gw_hl7_paths *paths = &r->mapping->order_device;
	bool told = false;

	for (size_t i = 0; i < paths->count && !told; i++) {
		event->device = gw_hl7_device(r, &paths->path[i], scope, &told);
		if (told && event->device.len == 0)
			gw_hl7_fault_at(r, 204, &paths->path[i], scope, "no registered device has this id or EUI-64");
	}
	if (event->device.len == 0)
		event->bed = gw_hl7_bed(r, &r->mapping->bed, scope, &told);
}

static void
read_order(struct gw_hl7_reading *r, struct gw_hl7_scope scope, size_t obr, bool stop)
{
	struct gw_patient_event *event = gw_hl7_event(r, stop ? GW_PATIENT_DISSOCIATE : GW_PATIENT_ASSOCIATE);

	if (event == NULL)
		return;
	gw_hl7_person(r, scope, &event->person);
	gw_hl7_visit(r, scope, event);
	take_number(r, scope.from, obr, event);
	take_object(r, scope, event);
	event->time_us = gw_hl7_when(r, &r->mapping->order_times, scope);
	if (event->device.len == 0 && event->bed.len == 0 && (!stop || event->order.len == 0))
		gw_hl7_fault_at(r, 101, &r->mapping->bed.path[0], scope, "an order for monitoring that names neither a device nor a bed");
	// By its number a bed's order is told from news of where the patient lies, and is found again when it ends.
	if (event->device.len == 0 && !stop && event->order.len == 0)
		gw_hl7_fault(r, 101, ORC, scope.from, 2, "an order for monitoring in a bed without its number");
}

void
gw_hl7_order(struct gw_hl7_reading *r)
{
	struct gw_hl7_scope scope = { 0 };
	size_t end = r->in->segment_count;
	bool any = false;

	while (!gw_hl7_failed(r) && r->mapping->service_count > 0 && gw_hl7_group(r->in, ORC, &scope)) {
		size_t obr = find_service(r, scope.from, scope.to);
		struct gw_span code = gw_hl7_component(r->in, gw_hl7_field(r->in, scope.from, 1), 1);
		enum control control = control_of(code);
		bool stop = control == STOP || (control == REPLACE && has_control(r->in, "RO")) ||
		    is_over(gw_hl7_component(r->in, gw_hl7_field(r->in, scope.from, 5), 1), control);

		any = true;
		if (obr < scope.to && code.len == 0)
			gw_hl7_fault(r, 101, ORC, scope.from, 1, "an order without its control code");
		else if (control == NOTHING)
			continue;
		else if (obr < scope.to)
			read_order(r, scope, obr, stop);
		else if (stop && gw_hl7_find(r->in, OBR, scope.from, scope.to) == scope.to &&
		    gw_hl7_component(r->in, gw_hl7_field(r->in, scope.from, 2), 1).len > 0)
			read_order(r, scope, r->in->segment_count, true);
	}
	if (!any && find_service(r, 0, end) < end)
		gw_hl7_fault(r, 101, ORC, end, 1, "an order without ORC");
	r->meaning->reason = "no order for monitoring";
}

// ---- DEV-51 ----

#define ASSOCIATION "69136"   // MDC_OBS_ASSOCIATION_PATIENT_DEVICE
#define ASSOCIATED "198332"   // MDC_EVT_ASSOCIATION_PATIENT_DEVICE
#define DISSOCIATED "198334"  // MDC_EVT_DISASSOCIATION_PATIENT_DEVICE

bool
gw_hl7_is_association(struct gw_hl7_reading *r)
{
	struct gw_hl7_path path;

	return gw_hl7_path_parse(gw_span_text("OBR(" ASSOCIATION ")-4"), &path, NULL) == GW_OK &&
	    gw_hl7_path_segment(r->in, &path, gw_hl7_whole(r->in)) < r->in->segment_count;
}

// Who assigned an EI: EI-3, else EI-2. Of OBR-29.2 the separators are subcomponents'.
static struct gw_span
assigner_of(struct gw_hl7_reading *r, struct gw_span ei, struct gw_span (*part)(const struct gw_hl7_in *in, struct gw_span value, unsigned n))
{
	struct gw_span universal = part(r->in, ei, 3);

	return gw_hl7_text(r->in, universal.len > 0 ? universal : part(r->in, ei, 2));
}

// What identifies the association instance, "15404697^132233FFFE445566": OBR-29.2, which names the first report of it, else OBR-3. Two reporters may number
// alike. Where the first report's assigner is left out it is this one's.
static struct gw_span
instance_of(struct gw_hl7_reading *r, size_t obr)
{
	struct gw_span own = gw_hl7_field(r->in, obr, 3), origin = gw_hl7_component(r->in, gw_hl7_field(r->in, obr, 29), 2), id, assigner;
	uint8_t *text;

	id = gw_hl7_text(r->in, gw_hl7_subcomponent(r->in, origin, 1));
	assigner = assigner_of(r, origin, gw_hl7_subcomponent);
	if (id.len == 0)
		id = gw_hl7_text(r->in, gw_hl7_component(r->in, own, 1));
	if (assigner.len == 0)
		assigner = assigner_of(r, own, gw_hl7_component);
	if (id.len == 0 || assigner.len == 0 || (text = gw_hl7_room(r->in, id.len + 1 + assigner.len)) == NULL)
		return id;
	memcpy(text, id.at, id.len);
	text[id.len] = '^';
	memcpy(text + id.len + 1, assigner.at, assigner.len);
	return gw_span(text, id.len + 1 + assigner.len);
}

// What a report asks for: the association begins; it ends; it never was, with this patient or (where that is corrected) with anybody; what was said to
// have ended goes on.
enum report { BEGINS, ENDS, NEVER_WAS, NOBODYS, GOES_ON };

static void
take_times(struct gw_hl7_reading *r, struct gw_hl7_scope scope, enum report report, struct gw_patient_event *event)
{
	int64_t end = gw_hl7_when(r, &r->mapping->dissociation_times, scope);

	event->time_us = report == ENDS || report == GOES_ON ? end : gw_hl7_when(r, &r->mapping->association_times, scope);
	if (report == BEGINS && gw_hl7_field(r->in, scope.from, 8).len > 0 && end > event->time_us)
		event->until_us = end;
}

// By the association's identifier, where it has one.
static enum gw_patient_verb
verb_of(enum report report, bool known)
{
	if (report == BEGINS || report == GOES_ON)
		return report == GOES_ON && known ? GW_PATIENT_RESUME : GW_PATIENT_ASSOCIATE;
	return report == NEVER_WAS && known ? GW_PATIENT_REVOKE : GW_PATIENT_DISSOCIATE;
}

static void
read_device(struct gw_hl7_reading *r, struct gw_hl7_scope scope, struct gw_hl7_scope segment, const struct gw_hl7_path *path, enum report report)
{
	bool told;
	struct gw_span filler = instance_of(r, scope.from);
	struct gw_span device = gw_hl7_device(r, path, segment, &told);
	struct gw_patient_event *event;

	if (told && device.len == 0)
		gw_hl7_fault_at(r, 204, path, segment, "no registered device has this id or EUI-64");
	if (!told || (event = gw_hl7_event(r, verb_of(report, filler.len > 0))) == NULL)
		return;
	event->device = device;
	event->filler = filler;
	if (report != NOBODYS)
		gw_hl7_person(r, scope, &event->person);
	gw_hl7_visit(r, scope, event);
	take_times(r, scope, report, event);
}

// Each segment that a path takes names a device; the first path that names one counts.
static void
read_devices(struct gw_hl7_reading *r, struct gw_hl7_scope scope, enum report report)
{
	const struct gw_hl7_paths *paths = &r->mapping->association_device;
	size_t before = r->meaning->count, segment;

	for (size_t i = 0; i < paths->count && r->meaning->count == before && !gw_hl7_failed(r); i++)
		for (size_t from = scope.from; !gw_hl7_failed(r); from = segment + 1) {
			segment = gw_hl7_path_segment(r->in, &paths->path[i], (struct gw_hl7_scope){ from, scope.to, 0 });
			if (segment == r->in->segment_count)
				break;
			read_device(r, scope, (struct gw_hl7_scope){ segment, segment + 1, 0 }, &paths->path[i], report);
		}
	if (r->meaning->count == before && paths->count > 0)
		gw_hl7_fault_at(r, 101, &paths->path[0], scope, "an association report that names no device");
}

// OBX-11: R asserted, F validated; D and W take back what was said, C says it anew: in place of what is known of the association by its identifier; without one,
// in place of whatever the device was associated with then.
static void
read_report(struct gw_hl7_reading *r, struct gw_hl7_scope scope, size_t obx)
{
	struct gw_span what = gw_hl7_component(r->in, gw_hl7_field(r->in, obx, 5), 1), status = gw_hl7_component(r->in, gw_hl7_field(r->in, obx, 11), 1);
	bool begins = gw_span_is(what, ASSOCIATED), back = gw_span_is(status, "D") || gw_span_is(status, "W"), corrected = gw_span_is(status, "C");

	if (!begins && !gw_span_is(what, DISSOCIATED))
		gw_hl7_fault(r, 103, OBX, obx, 5, "neither association (198332) nor disassociation (198334)");
	else if (status.len != 1 || strchr("RFCDW", status.at[0]) == NULL)
		gw_hl7_fault(r, status.len == 0 ? 101 : 103, OBX, obx, 11, "the status is none of R, F, C, D and W");
	else if (!begins)
		read_devices(r, scope, back ? GOES_ON : ENDS);
	else {
		if (back || (corrected && instance_of(r, scope.from).len == 0))
			read_devices(r, scope, back ? NEVER_WAS : NOBODYS);
		if (!back)
			read_devices(r, scope, BEGINS);
	}
}

void
gw_hl7_association(struct gw_hl7_reading *r)
{
	struct gw_hl7_scope scope = { 0 };

	while (!gw_hl7_failed(r) && gw_hl7_group(r->in, OBR, &scope)) {
		struct gw_hl7_path path;
		size_t obx = r->in->segment_count;

		if (!gw_span_is(gw_hl7_component(r->in, gw_hl7_field(r->in, scope.from, 4), 1), ASSOCIATION))
			continue;
		if (gw_hl7_path_parse(gw_span_text("OBX(68487)-5"), &path, NULL) == GW_OK)
			obx = gw_hl7_path_segment(r->in, &path, (struct gw_hl7_scope){ scope.from, scope.to, 0 });
		if (obx == r->in->segment_count)
			gw_hl7_fault(r, 101, OBX, obx, 3, "an association report without 68487 MDC_ATTR_EVT_COND");
		else
			read_report(r, scope, obx);
	}
}
