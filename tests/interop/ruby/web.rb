# Sidekiq's own web page, on a port of its choice, which it says in its first line.

require_relative "workers"
require "rack"
require "sidekiq/web"
require "webrick"
require "rack/handler/webrick"

ENV["RACK_ENV"] = "production"
app = Rack::Builder.new do
  use Rack::Session::Cookie, secret: "a" * 64, same_site: true, max_age: 86_400
  run Sidekiq::Web
end
quiet = WEBrick::Log.new(STDERR, WEBrick::Log::ERROR)
Rack::Handler::WEBrick.run(app.to_app, Host: "127.0.0.1", Port: 0, Logger: quiet, AccessLog: []) do |server|
  puts server.listeners.first.addr[1]
  STDOUT.flush
end
