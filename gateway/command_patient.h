// SPDX-License-Identifier: Apache-2.0
// Inside the commands on patients only.
#ifndef GW_COMMAND_PATIENT_H
#define GW_COMMAND_PATIENT_H

#include "gateway/command.h"
#include "gateway/intake.h"

// "12", "12^^^KLINIK" or "12^^^KLINIK^PI", as CX; into spans of the text.
void gw_identifier_parse(const char *text, struct gw_identifier *identifier);
// "Müller, Ada"
void gw_patient_words(const struct gw_patient *patient, char *out, size_t cap);
// That somebody does something with a patient's data (GW_RECORD_COMMAND): durable when it returns.
enum gw_error gw_call_record_act(struct gw_call *call, struct gw_span device, const char *what);
// The same of somebody who looks, to be called before anything is shown. Whoever asks the same again and again is recorded once a minute (command_audit.c).
enum gw_error gw_call_record_reading(struct gw_call *call, struct gw_span device, const char *what);

// The same in two halves: what is to be shown is gathered while the disk works. Nothing is shown before the second returns GW_OK; it is called after every first.
struct gw_recording {
	struct gw_call *call;
	struct gw_source source;
	struct gw_ticket *ticket;  // on its way; NULL: none
	enum gw_error error;
	uint64_t hash;             // of what is recorded once a minute; 0: each time
	bool open;
};
void gw_recording_begin(struct gw_recording *recording, struct gw_call *call, struct gw_span device, const char *what);
void gw_recording_begin_reading(struct gw_recording *recording, struct gw_call *call, struct gw_span device, const char *what);
enum gw_error gw_recording_end(struct gw_recording *recording);

#endif
