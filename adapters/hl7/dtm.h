// SPDX-License-Identifier: Apache-2.0
// Time in HL7 v2 (chapter 2A, DTM and TS): YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ]. Pure.
#ifndef GW_HL7_DTM_H
#define GW_HL7_DTM_H

#include "gateway/span.h"
#include "gateway/timezone.h"

#include <stdbool.h>

enum gw_hl7_precision { GW_HL7_YEAR = 1, GW_HL7_MONTH, GW_HL7_DAY, GW_HL7_HOUR, GW_HL7_MINUTE, GW_HL7_SECOND, GW_HL7_FRACTION };

struct gw_hl7_dtm {
	int64_t us; // since 1970 UTC: the beginning of what is told
	enum gw_hl7_precision precision;
	bool zoned; // the text says its zone
};

// Without a zone it is local to `zone` (NULL: UTC); the hour that stands twice in autumn is the one nearer to near_us. Digits of a second beyond the sixth are
// read and dropped. -0000 is UTC. False: it is no such time, or no such day.
bool gw_hl7_dtm_parse(struct gw_span text, const struct gw_zone *zone, int64_t near_us, struct gw_hl7_dtm *dtm);

#endif
