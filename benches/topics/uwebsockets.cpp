// Topics with uWebSockets, as its own example has them. It ends with its input.

#include <App.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <thread>

struct None {};

static void endWithInput() {
    while (std::getchar() != EOF) {
    }
    std::exit(0);
}

int main() {
    uWS::App app;
    app.ws<None>("/*", {
        .compression = uWS::DISABLED,
        .maxPayloadLength = 16 * 1024 * 1024,
        // The most: subscribers say nothing, and do not answer pings.
        .idleTimeout = 960,
        .maxBackpressure = 64 * 1024 * 1024,
        .message = [&app](auto *socket, std::string_view message, uWS::OpCode kind) {
            if (message[0] == '+') {
                socket->subscribe(message.substr(1));
                socket->send(message, kind, false);
                return;
            }
            size_t end = message.find('\n');
            app.publish(message.substr(0, end), message.substr(end + 1), kind, false);
        },
    });
    app.listen("127.0.0.1", 0, [](us_listen_socket_t *listener) {
        if (!listener)
            std::exit(1);
        std::cout << "127.0.0.1:" << us_socket_local_port(0, (us_socket_t *)listener) << std::endl;
    });
    std::thread(endWithInput).detach();
    app.run();
}
