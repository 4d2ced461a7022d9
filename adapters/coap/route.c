// SPDX-License-Identifier: Apache-2.0
// Paths and numbers of CoAP options. Pure; any thread.
#include "adapters/coap/route.h"

static bool
is_plain(uint8_t byte)
{
	return byte > ' ' && byte != '/' && byte != '%' && byte != 0x7f;
}

static size_t
put(char *out, uint8_t byte)
{
	static const char digits[] = "0123456789ABCDEF";

	if (is_plain(byte) || byte == ' ') {
		out[0] = (char)byte;
		return 1;
	}
	out[0] = '%';
	out[1] = digits[byte >> 4];
	out[2] = digits[byte & 15];
	return 3;
}

bool
gw_coap_route_add(struct gw_coap_route *route, struct gw_span segment)
{
	if (route->len + 1 + 3 * segment.len > sizeof(route->text))
		return false;
	if (route->len > 0)
		route->text[route->len++] = '/';
	for (size_t i = 0; i < segment.len; i++)
		route->len += put(route->text + route->len, segment.at[i]);
	return true;
}

bool
gw_coap_uint(struct gw_span value, uint32_t *number)
{
	*number = 0;
	if (value.len > 4)
		return false;
	for (size_t i = 0; i < value.len; i++)
		*number = *number << 8 | value.at[i];
	return true;
}

static char *
digits_before(char *end, uint64_t number, int least)
{
	for (; number > 0 || least > 0; number /= 10, least--)
		*--end = (char)('0' + number % 10);
	return end;
}

size_t
gw_coap_time_text(int64_t us, char out[32])
{
	char text[32];
	char *end = text + sizeof(text);
	char *at;
	uint64_t ms = us > 0 ? (uint64_t)us / 1000 : 0;

	at = digits_before(end, ms % 1000, 3);
	*--at = '.';
	at = digits_before(at, ms / 1000, 1);
	memcpy(out, at, (size_t)(end - at));
	return (size_t)(end - at);
}
