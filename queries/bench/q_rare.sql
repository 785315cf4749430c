-- about: canonical query q_rare: spans with a value of a rare attribute, which no file promotes
SELECT trace_id, start_time, attributes['app.coupon'] AS c FROM spans WHERE attributes['app.coupon'] = 'SPRING';
