// SPDX-License-Identifier: Apache-2.0
// Inside the commands on patients only.
#ifndef GW_COMMAND_PATIENT_H
#define GW_COMMAND_PATIENT_H

#include "gateway/command.h"

// "12", "12^^^KLINIK" or "12^^^KLINIK^PI", as CX; into spans of the text.
void gw_identifier_parse(const char *text, struct gw_identifier *identifier);
// "Müller, Ada"
void gw_patient_words(const struct gw_patient *patient, char *out, size_t cap);
// That somebody does something with a patient's data (GW_RECORD_COMMAND): durable when it returns.
enum gw_error gw_call_record_act(struct gw_call *call, struct gw_span device, const char *what);
// The same of somebody who looks, to be called before anything is shown. Whoever asks the same again and again is recorded once a minute (command_audit.c).
enum gw_error gw_call_record_reading(struct gw_call *call, struct gw_span device, const char *what);

#endif
