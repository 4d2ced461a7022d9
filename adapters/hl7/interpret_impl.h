// SPDX-License-Identifier: Apache-2.0
// What the files of the interpreter share: one message on its way to events. The first fault sticks; after it nothing is read any more.
#ifndef GW_HL7_INTERPRET_IMPL_H
#define GW_HL7_INTERPRET_IMPL_H

#include "adapters/hl7/interpret.h"

struct gw_hl7_reading {
	struct gw_hl7_in *in;
	const struct gw_hl7_context *context;
	const struct gw_hl7_mapping *mapping;
	struct gw_hl7_meaning *meaning;
	int64_t near_us;       // of local times in autumn's doubled hour
	int64_t told_us;
	struct gw_span source;
};

static inline bool
gw_hl7_failed(const struct gw_hl7_reading *r)
{
	return r->meaning->means == GW_HL7_MEANS_FAULT;
}

// Always NULL, so that giving up is one line. segment: its index; where it is missing, up to where there is none (ERR names the one that ought to follow
// those of its name before that).
struct gw_patient_event *gw_hl7_fault(struct gw_hl7_reading *r, unsigned code, uint32_t name, size_t segment, unsigned field, const char *words);
// At a path's place in a scope.
void gw_hl7_fault_at(struct gw_hl7_reading *r, unsigned code, const struct gw_hl7_path *path, struct gw_hl7_scope scope, const char *words);

// The next event, zeroed, with source and an open end; NULL after a fault or where there is no room.
struct gw_patient_event *gw_hl7_event(struct gw_hl7_reading *r, enum gw_patient_verb verb);

// interpret_fields.c
struct gw_span gw_hl7_mapped_text(struct gw_hl7_reading *r, const struct gw_hl7_paths *paths, struct gw_hl7_scope scope, size_t max);
struct gw_span gw_hl7_path_value(struct gw_hl7_reading *r, const char *path, struct gw_hl7_scope scope); // text of a fixed path
void gw_hl7_person(struct gw_hl7_reading *r, struct gw_hl7_scope scope, struct gw_person *person);          // PID; at least one identifier
void gw_hl7_identifiers(struct gw_hl7_reading *r, const struct gw_hl7_paths *paths, struct gw_hl7_scope scope, struct gw_person *person);
// told: whether a location is there at all, bed or not.
struct gw_span gw_hl7_bed(struct gw_hl7_reading *r, const struct gw_hl7_paths *paths, struct gw_hl7_scope scope, bool *told);
int64_t gw_hl7_when(struct gw_hl7_reading *r, const struct gw_hl7_paths *paths, struct gw_hl7_scope scope);
void gw_hl7_visit(struct gw_hl7_reading *r, struct gw_hl7_scope scope, struct gw_patient_event *event);
// The registered device that EI (or a text, where the path has a component) at a segment names; empty with *told where it names an unknown one.
struct gw_span gw_hl7_device(struct gw_hl7_reading *r, const struct gw_hl7_path *path, struct gw_hl7_scope scope, bool *told);

// interpret_adt.c, interpret_order.c
void gw_hl7_adt(struct gw_hl7_reading *r, struct gw_span trigger);
void gw_hl7_order(struct gw_hl7_reading *r);
bool gw_hl7_is_association(struct gw_hl7_reading *r);
void gw_hl7_association(struct gw_hl7_reading *r);

// The groups that begin with a segment of that name: *scope becomes the first one, later the next; false where there is none.
bool gw_hl7_group(const struct gw_hl7_in *in, uint32_t name, struct gw_hl7_scope *scope);

#endif
