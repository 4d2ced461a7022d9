// SPDX-License-Identifier: Apache-2.0
// QR codes (ISO/IEC 18004, error correction M) as text for a terminal, as SVG and as PNG. No state; any thread.
#ifndef GW_QR_H
#define GW_QR_H

#include "adapters/pki/pki.h"

// Two rows of modules in one line of block characters, dark on light whatever the terminal's colours are (colour: with ANSI colours for that).
enum gw_error gw_qr_terminal(const char *text, bool colour, struct gw_pki_text *out, struct gw_why *why);
// A square of its own size, to be scaled; without XML declaration, so that it can stand in a page.
enum gw_error gw_qr_svg(const char *text, struct gw_pki_text *out, struct gw_why *why);
enum gw_error gw_qr_png(const char *text, struct gw_pki_text *out, struct gw_why *why);

#endif
