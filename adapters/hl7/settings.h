// SPDX-License-Identifier: Apache-2.0
// One destination as the configuration describes it, checked and constant. Texts are owned by the configuration and live as long as it does.
// Making settings of a configuration is its check as well: any thread, without side effects, so that a new one can be made beside the one in use.
#ifndef GW_HL7_SETTINGS_H
#define GW_HL7_SETTINGS_H

#include "adapters/hl7/charset.h"
#include "gateway/config.h"
#include "gateway/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GW_HL7_NAME_MAX 32

enum gw_hl7_select { GW_HL7_LAST, GW_HL7_FIRST, GW_HL7_EVERY }; // the last or the first valid reading of an interval, or all
enum gw_hl7_unassociated { GW_HL7_HOLD, GW_HL7_SEND };         // readings of nobody: until somebody is associated, or without patient
enum gw_hl7_corrections { GW_HL7_REPORT, GW_HL7_RESEND };      // gone out for the wrong patient: told to people, or W to the old and R to the new one
enum gw_hl7_refused { GW_HL7_PARK, GW_HL7_RETRY };             // AR, CR
enum gw_hl7_values { GW_HL7_AS_RECEIVED, GW_HL7_CANONICAL };

// Another choice for some signals. signal: a name of the nomenclature, or a beginning and `*`.
struct gw_hl7_signal_rule {
	const char *signal;
	bool has_select, has_interval;
	enum gw_hl7_select select;
	int64_t interval_us; // 0: at once
};

// A constant for a field, over what the message would say: MSH-5.1, PV1-3.4, OBR-24...
struct gw_hl7_override {
	char segment[4];
	unsigned field, component; // from 1; component 0: the whole field
	const char *value;         // already escaped text of the message; without line ends
};

struct gw_hl7_settings {
	const char *name, *host;
	int port;
	bool tls;
	const char *ca, *certificate, *key, *server_name; // server_name: expected in the certificate; empty: host
	bool production;
	const char *processing_id; // MSH-11: P; D or T for test destinations
	const char *version;       // MSH-12: 2.3 to 2.8
	const char *accept_ack, *application_ack; // MSH-15, MSH-16: AL or NE; both empty: original mode
	const struct gw_hl7_charset *charset;
	const char *sending_application, *sending_facility, *receiving_application, *receiving_facility;
	uint64_t eui64;
	// What goes out
	const char *const *wards, *const *devices, *const *signals; // NULL: all; a beginning and `*` allowed
	size_t ward_count, device_count, signal_count;
	enum gw_hl7_select select;
	int64_t interval_us;
	const struct gw_hl7_signal_rule *rules;
	size_t rule_count;
	enum gw_hl7_values values;
	int decimals;              // canonical values: places at most, rounded half to even; -1: as many as there are
	bool waveforms;
	const struct gw_hl7_override *overrides;
	size_t override_count;
	enum gw_hl7_unassociated unassociated;
	enum gw_hl7_corrections corrections;
	// Delivery
	int answer_ms_max, backoff_ms_min, backoff_ms_max;
	unsigned errors_max;       // AE and CE answers until a message is parked
	enum gw_hl7_refused rejected;
	unsigned backlog_per_s;    // messages a second while catching up; 0: no limit
	uint64_t outbox_max, parked_max, held_max;
	int64_t backlog_us_max;
	uint64_t backlog_bytes_max;
};

// Settings of every destination of the configuration, checked: names, signals, fields, character sets, options that belong together, files on TLS.
// incarnation: of the store, for a gateway without an EUI-64 of its own. On error why names the line, the destination, and what to do. GW_E_CONFIG, GW_E_MEMORY.
enum gw_error gw_hl7_settings_make(const struct gw_config *config, uint64_t incarnation, struct gw_hl7_settings **settings, size_t *count,
    struct gw_why *why);
void gw_hl7_settings_free(struct gw_hl7_settings *settings, size_t count);

#endif
