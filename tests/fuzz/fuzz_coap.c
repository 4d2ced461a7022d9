// SPDX-License-Identifier: Apache-2.0
// Datagrams as libcoap's parser and the adapter's option reader see them, and bodies in blocks: the first byte chooses.
#include "adapters/coap/coap.h"

#include <stdlib.h>

#define CHECK(what) ((what) ? (void)0 : abort()) // also where assertions are compiled out

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
read_datagram(const uint8_t *data, size_t size)
{
	coap_pdu_t *pdu = coap_pdu_init(COAP_MESSAGE_CON, COAP_EMPTY_CODE, 0, 2048);
	struct gw_coap_route route;
	struct gw_coap_ask ask;

	CHECK(pdu != NULL);
	if (size >= 4 && coap_pdu_parse(COAP_PROTO_UDP, data, size, pdu)) {
		gw_coap_ask_read(pdu, &ask, &route);
		CHECK(ask.route.len <= sizeof(route.text));
		CHECK(memchr(route.text, '\0', route.len) == NULL);
	}
	coap_delete_pdu(pdu);
}

// Each step: owner and key, block number and more, size, payload length.
static void
upload(const uint8_t *data, size_t size)
{
	static const uint8_t content[2048];
	struct gw_coap_uploads uploads = { .max = 3, .of_one = 2, .bytes_max = 5000, .idle_us_max = 50 };
	int owners[2];

	for (int64_t now_us = 1; size >= 5; data += 5, size -= 5, now_us += 10) {
		struct gw_coap_block block = { .num = data[1], .more = (data[0] & 4) != 0, .szx = data[2] & 7, .size1 = data[3] * 40u,
			.payload = gw_span(content, (size_t)data[4] * 8) };
		uint8_t *body = NULL;
		size_t body_len = 0;
		enum gw_coap_block_result result = gw_coap_upload_block(&uploads, &owners[data[0] & 1], data[0] >> 1 & 1, &block, now_us, &body, &body_len);
		CHECK(uploads.count <= uploads.max && body_len <= uploads.bytes_max);
		CHECK(result == GW_COAP_BLOCK_COMPLETE || body == NULL);
		free(body);
		if ((data[0] & 0xf0) == 0xf0)
			gw_coap_uploads_expire(&uploads, now_us);
		if ((data[0] & 0xf0) == 0xe0)
			gw_coap_uploads_drop(&uploads, &owners[0]);
	}
	gw_coap_uploads_drop(&uploads, NULL);
	CHECK(uploads.count == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	coap_set_log_level(COAP_LOG_EMERG);
	if (size > 0 && data[0] == 'u')
		upload(data + 1, size - 1);
	else if (size > 0 && size < 1500)
		read_datagram(data + 1, size - 1);
	return 0;
}
