// SPDX-License-Identifier: Apache-2.0
// Receives with simple-hl7's server on PORT of loopback: writes MSH-10 of each message as a line, and lets the library answer AA.
const hl7 = require('simple-hl7');

hl7.Server.createTcpServer((failure, req, res) => {
  if (failure) {
    console.error(failure);
    return;
  }
  console.log(req.msg.header.getComponent(8, 1).toString());
  res.end();
}).start(Number(process.argv[2]));
