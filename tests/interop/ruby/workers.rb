# The workers of the Ruby side.  Each run that is worth telling is added to the list "ran", as the Python workers do.

require "sidekiq"
require "json"

Sidekiq.logger = Sidekiq::Logger.new(STDERR, level: Logger::WARN)

# Says in Redis that a job was performed here.
module Telling
  def tell(*args)
    said = {by: "ruby", class: self.class.name, jid: jid, args: args}
    Sidekiq.redis { |redis| redis.rpush("ran", JSON.generate(said)) }
  end
end

class EchoWorker
  include Sidekiq::Worker
  include Telling

  def perform(*args) = tell(*args)
end

class FailWorker
  include Sidekiq::Worker

  def perform(message) = raise(ArgumentError, message)
end

# Fails in Ruby as long as it is told to, and tells otherwise.
class RelayWorker
  include Sidekiq::Worker
  include Telling
  sidekiq_retry_in { |_count, _error| 3600 }

  def perform(fails_in, message)
    raise "ruby: #{message}" if fails_in.include?("ruby")
    tell(fails_in, message)
  end
end

class SleepWorker
  include Sidekiq::Worker
  include Telling

  def perform(seconds)
    tell(seconds)
    sleep(seconds)
  end
end

module Reports
  class Monthly
    include Sidekiq::Worker
    include Telling
    sidekiq_options queue: "reports", retry: 5, backtrace: 10, tags: ["billing", "monthly"], dead: false

    def perform(*args) = tell(*args)
  end
end
