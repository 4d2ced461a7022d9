// SPDX-License-Identifier: Apache-2.0
// One HL7 destination: an outlet of its own, with its cursor, groups, outbox, connection and thread. Another destination shares nothing with it: a dead one
// delays no other.
//
// The thread's loop: read records and group them; make a message of each closed group and commit it, with how far its device's readings are taken, before
// it is sent; send the next message and wait for its answer. One message is under way at a time. It goes again, the same bytes with the same MSH-10,
// until an answer that names its MSH-10 says AA or CA; AE and CE: some times, then it is parked; AR and CR: parked at once or sent again, as the settings
// say. On a timeout, or on an answer that cannot be understood or is for another message, the connection is closed before anything is sent again.
// Messages of one device go in order. Messages of old readings (a backlog) go at a limited rate, those of new ones between them (pick.h).
#ifndef GW_HL7_DESTINATION_H
#define GW_HL7_DESTINATION_H

#include "adapters/hl7/oru.h"
#include "adapters/hl7/settings.h"
#include "gateway/core.h"

struct gw_hl7_destination;

struct gw_hl7_destination_options {
	struct gw_core *core;
	const struct gw_hl7_settings *settings; // live as long as the destination
};

enum gw_error gw_hl7_destination_open(const struct gw_hl7_destination_options *options, struct gw_hl7_destination **destination, struct gw_why *why);
void gw_hl7_destination_stop(struct gw_hl7_destination *destination);
void gw_hl7_destination_close(struct gw_hl7_destination *destination);

// Any thread.
void gw_hl7_destination_status(struct gw_hl7_destination *destination, yyjson_mut_doc *doc, yyjson_mut_val *object);
// Parked messages, one document each: number, MSH-10, device, when made, answers, reason; show: one of them with its segments. GW_E_NOT_FOUND.
enum gw_error gw_hl7_destination_list(struct gw_hl7_destination *destination, gw_report_fn *line, void *arg, struct gw_why *why);
enum gw_error gw_hl7_destination_show(struct gw_hl7_destination *destination, uint64_t number, gw_report_fn *line, void *arg, struct gw_why *why);
// What is held because nobody is associated or somebody is not sure, and what went out for another patient than its readings turned out to be of: a
// document for each row of the ledger. No names, no identifiers of patients.
enum gw_error gw_hl7_destination_held(struct gw_hl7_destination *destination, gw_report_fn *line, void *arg, struct gw_why *why);
enum gw_error gw_hl7_destination_misfiled(struct gw_hl7_destination *destination, gw_report_fn *line, void *arg, struct gw_why *why);
// What went out, waits or is held of these patients, from the ledger: a document for each row.
enum gw_error gw_hl7_destination_of(struct gw_hl7_destination *destination, yyjson_val *patients, gw_report_fn *line, void *arg, struct gw_why *why);
// Sends parked messages again, or drops them: one by its number, or all (0). By the destination's thread soon after.
enum gw_error gw_hl7_destination_retry(struct gw_hl7_destination *destination, uint64_t number, struct gw_why *reply);
enum gw_error gw_hl7_destination_drop(struct gw_hl7_destination *destination, uint64_t number, struct gw_why *reply);

#endif
