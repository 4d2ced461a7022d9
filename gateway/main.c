// SPDX-License-Identifier: Apache-2.0
// The program: the table of parts, and the command line. The only file that knows both the gateway and its adapters.
#include "gateway/cli.h"

// In the order in which they start, certificates before whoever shows them; they stop in reverse: doors before outlets, so that what has come in can still go out.
static const struct gw_part *const parts[] = { &gw_pki_part, &gw_series_part, &gw_export_part, &gw_bus_part, &gw_syslog_part, &gw_hl7_part, &gw_hl7_in_part, &gw_mqtt_part,
	&gw_coap_part };

int
main(int argc, char **argv)
{
	return gw_cli_main(argc, argv, parts, sizeof(parts) / sizeof(parts[0]));
}
