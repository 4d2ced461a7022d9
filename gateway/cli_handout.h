// SPDX-License-Identifier: Apache-2.0
// Inside the command line only: credentials that leave it, as files, QR codes and sheets, with the rights of who asks. Single-threaded.
#ifndef GW_CLI_HANDOUT_H
#define GW_CLI_HANDOUT_H

#include "gateway/cli_show.h"

// Before the request: secrets from standard input and files into the arguments, and whether every file that is wanted can be written, for afterwards it is too late.
enum gw_error gw_cli_prepare_handout(struct gw_cli *cli, struct gw_why *why);
// Whether the command hands out credentials.
bool gw_cli_hands_out(const struct gw_cli *cli);
// Of one line of the answer: writes the files; what belongs with them ("p12", "p12_passphrase", "qr"...) becomes members. What cannot be written is said, and stays in the line.
void gw_cli_handout(const struct gw_cli *cli, yyjson_mut_doc *doc, yyjson_mut_val *line);
// After the last line.
void gw_cli_handout_end(void);

// A sheet to type from (gateway/cli_sheet.c): as a page (HTML), else as text. One after the other into the same file.
void gw_sheet_head(FILE *out, bool page);
void gw_sheet_put(FILE *out, bool page, yyjson_mut_val *line);
void gw_sheet_end(FILE *out, bool page);

#endif
