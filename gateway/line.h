// SPDX-License-Identifier: Apache-2.0
// The straight line of one frame on its source's thread: route -> device and profile -> decode and normalise -> ticket.
// What comes next is gw_intake_submit(); what comes back is answered by the adapter.
#ifndef GW_LINE_H
#define GW_LINE_H

#include "gateway/decode.h"
#include "gateway/intake.h"
#include "gateway/registry.h"

struct gw_frame {
	enum gw_door door;
	enum gw_auth auth;
	const char *principal;   // id in the registry, as the connection proved it
	struct gw_span route;    // MQTT topic, or CoAP path without leading slash
	struct gw_span payload;
	uint32_t content_format; // GW_CF_*; GW_CF_NONE
	int64_t received_us;
	enum gw_protocol protocol;
	const struct gw_peer *peer; // where it came from, for the record of a refusal; NULL: not told
};

struct gw_line_options {
	struct gw_registry *registry;
	const struct gw_profiles *profiles;
	size_t payload_bytes_max;
	uint32_t refused_claims_per_min; // of one principal that are recorded; 0: 10
	struct gw_refusals *refusals;    // where refused claims are counted; may be NULL
	bool again;              // frames that came before: their receive times stay as they are
};

// One per source thread: scratch, a snapshot of the registry, the routes used last. Not shared.
struct gw_line;
struct gw_line *gw_line_new(const struct gw_line_options *options);
void gw_line_free(struct gw_line *line);

// Fills the ticket's operations, verdict and why. Always leaves a ticket that can be submitted and must be:
//   verdict GW_OK                        readings (and a quarantined copy if part of it could not be understood)
//   GW_E_FORBIDDEN, GW_E_DISABLED        a recorded refusal (device event; at most one a minute per principal and claim), no data
//   any other reject                     the whole frame in quarantine with the reason
// After the commit the adapter answers: result not GW_OK -> its table of results; else its table of verdicts.
void gw_line_take(struct gw_line *line, const struct gw_frame *frame, struct gw_ticket *ticket);

#endif
