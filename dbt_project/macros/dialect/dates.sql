{# Local business date of a naive UTC timestamp in an IANA zone that is a column: sources differ. #}
{% macro local_date(utc_timestamp, zone) -%}
    {{ return(adapter.dispatch('local_date', 'strata')(utc_timestamp, zone)) }}
{%- endmacro %}

{% macro default__local_date(utc_timestamp, zone) -%}
    cast(({{ utc_timestamp }} at time zone 'UTC') at time zone {{ zone }} as date)
{%- endmacro %}

{% macro spark__local_date(utc_timestamp, zone) -%}
    cast(from_utc_timestamp({{ utc_timestamp }}, {{ zone }}) as date)
{%- endmacro %}

{# Hour of the local day, 0 to 23, of the same timestamp. #}
{% macro local_hour(utc_timestamp, zone) -%}
    {{ return(adapter.dispatch('local_hour', 'strata')(utc_timestamp, zone)) }}
{%- endmacro %}

{% macro default__local_hour(utc_timestamp, zone) -%}
    cast(extract(hour from ({{ utc_timestamp }} at time zone 'UTC') at time zone {{ zone }}) as integer)
{%- endmacro %}

{% macro spark__local_hour(utc_timestamp, zone) -%}
    cast(extract(hour from from_utc_timestamp({{ utc_timestamp }}, {{ zone }})) as integer)
{%- endmacro %}

{# UTC instant, naive, at which a local day begins in a zone. #}
{% macro utc_of_local_midnight(local_day, zone) -%}
    {{ return(adapter.dispatch('utc_of_local_midnight', 'strata')(local_day, zone)) }}
{%- endmacro %}

{% macro default__utc_of_local_midnight(local_day, zone) -%}
    (cast({{ local_day }} as timestamp) at time zone {{ zone }}) at time zone 'UTC'
{%- endmacro %}

{% macro spark__utc_of_local_midnight(local_day, zone) -%}
    to_utc_timestamp(cast({{ local_day }} as timestamp), {{ zone }})
{%- endmacro %}

{# The same date as local_date(), by the joined row of `local_days`; days outside the lookup are converted. #}
{% macro looked_up_date(utc_timestamp, zone, days) -%}
    case
        when {{ utc_timestamp }} < {{ days }}.next_midnight then {{ days }}.local_day
        when {{ utc_timestamp }} < {{ days }}.second_midnight then {{ days }}.next_local_day
        else {{ local_date(utc_timestamp, zone) }}
    end
{%- endmacro %}

{# The same hour as local_hour(), told by how long it is to local midnight: an hour off on a day on which clocks change. #}
{% macro looked_up_hour(utc_timestamp, days) -%}
    case
        when {{ utc_timestamp }} < {{ days }}.next_midnight
            then greatest(23 - cast(floor(({{ seconds_between(utc_timestamp, days ~ '.next_midnight') }} - 1) / 3600) as integer), 0)
        when {{ utc_timestamp }} < {{ days }}.second_midnight
            then greatest(23 - cast(floor(({{ seconds_between(utc_timestamp, days ~ '.second_midnight') }} - 1) / 3600) as integer), 0)
    end
{%- endmacro %}

{% macro join_local_days(utc_timestamp, zone, days) -%}
    left join {{ ref('local_days') }} as {{ days }}
        on {{ days }}.zone = {{ zone }} and {{ days }}.utc_day = cast({{ utc_timestamp }} as date)
{%- endmacro %}

{# Whole days from one date to a later one. #}
{% macro days_between(from_date, to_date) -%}
    cast({{ dbt.datediff(from_date, to_date, 'day') }} as integer)
{%- endmacro %}

{# The date `days` before or after; `days` may be a column. #}
{% macro date_minus(date_value, days) -%}
    cast({{ dbt.dateadd('day', '-(' ~ days ~ ')', date_value) }} as date)
{%- endmacro %}

{% macro date_plus(date_value, days) -%}
    cast({{ dbt.dateadd('day', '(' ~ days ~ ')', date_value) }} as date)
{%- endmacro %}

{# The same day `months` before or after; `months` may be a column. #}
{% macro month_minus(date_value, months) -%}
    cast({{ dbt.dateadd('month', '-(' ~ months ~ ')', date_value) }} as date)
{%- endmacro %}

{% macro month_plus(date_value, months) -%}
    cast({{ dbt.dateadd('month', '(' ~ months ~ ')', date_value) }} as date)
{%- endmacro %}

{% macro month_start(date_value) -%}
    cast(date_trunc('month', {{ date_value }}) as date)
{%- endmacro %}

{# ISO weekday, Monday = 1 … Sunday = 7. #}
{% macro iso_weekday(date_value) -%}
    {{ return(adapter.dispatch('iso_weekday', 'strata')(date_value)) }}
{%- endmacro %}

{% macro default__iso_weekday(date_value) -%} cast(isodow({{ date_value }}) as integer) {%- endmacro %}

{% macro spark__iso_weekday(date_value) -%} cast(weekday({{ date_value }}) + 1 as integer) {%- endmacro %}

{% macro iso_year(date_value) -%}
    {{ return(adapter.dispatch('iso_year', 'strata')(date_value)) }}
{%- endmacro %}

{% macro default__iso_year(date_value) -%} cast(isoyear({{ date_value }}) as integer) {%- endmacro %}

{% macro spark__iso_year(date_value) -%} cast(extract(yearofweek from {{ date_value }}) as integer) {%- endmacro %}

{# Month and day as 'MM-DD', comparable as text. #}
{% macro month_day(date_value) -%}
    {{ return(adapter.dispatch('month_day', 'strata')(date_value)) }}
{%- endmacro %}

{% macro default__month_day(date_value) -%} strftime({{ date_value }}, '%m-%d') {%- endmacro %}

{% macro spark__month_day(date_value) -%} date_format({{ date_value }}, 'MM-dd') {%- endmacro %}

{# Relation of one column `date_day`, every day from first to last (scalar expressions), both included. #}
{% macro days_from_to(first_date, last_date) -%}
    {{ return(adapter.dispatch('days_from_to', 'strata')(first_date, last_date)) }}
{%- endmacro %}

{% macro default__days_from_to(first_date, last_date) -%}
    select cast(unnest(generate_series({{ first_date }}, {{ last_date }}, interval 1 day)) as date) as date_day
{%- endmacro %}

{% macro spark__days_from_to(first_date, last_date) -%}
    select explode(sequence({{ first_date }}, {{ last_date }}, interval 1 day)) as date_day
{%- endmacro %}

{% macro seconds_between(from_timestamp, to_timestamp) -%}
    cast({{ dbt.datediff(from_timestamp, to_timestamp, 'second') }} as bigint)
{%- endmacro %}

{# The date that a text spells as YYYY-MM-DD; null where it spells none. #}
{% macro date_of_text(text) -%} try_cast({{ text }} as date) {%- endmacro %}
